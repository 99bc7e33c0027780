"""Devices: a name that does not fit this machine is refused in one line; bfloat16 counts where hardware computes it."""

from contextlib import nullcontext

import pytest

from padim_nb.errors import OptionError
from padim_nb.util.devices import has_fast_bf16, pick_device


def with_gpus(monkeypatch, count):
    monkeypatch.setattr("torch.cuda.is_available", lambda: count > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)


@pytest.mark.parametrize(
    ("count", "name", "device"),
    [(0, "auto", "cpu"), (1, "auto", "cuda"), (1, "cuda", "cuda"), (2, "cuda:1", "cuda:1"), (1, "cpu", "cpu")],
)
def test_a_device_is_picked_by_name(count, name, device, monkeypatch):
    with_gpus(monkeypatch, count)
    assert pick_device(name) == device


@pytest.mark.parametrize(
    ("count", "name", "words"),
    [
        (0, "cuda", "there is no CUDA device here"),
        (1, "cuda:7", "no device 'cuda:7': the 1 here are numbered 0 to 0"),
        (2, "cuda:2", "numbered 0 to 1"),
        *((1, name, f"no device '{name}'") for name in ("gpu", "meta", "mps", "xpu", "hpu", "cpu:0", "cuda:-1", "")),
    ],
)
def test_a_device_that_is_not_here_is_refused(count, name, words, monkeypatch):
    with_gpus(monkeypatch, count)
    with pytest.raises(OptionError, match=words) as error:
        pick_device(name)
    assert "\n" not in str(error.value)


def test_an_emulated_bfloat16_is_not_fast(monkeypatch):
    monkeypatch.setattr("torch.cuda.device", lambda device: nullcontext())
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not has_fast_bf16("cuda")
