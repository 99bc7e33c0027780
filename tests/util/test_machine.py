"""What a result was computed with."""

import pytest

from padim_nb.util.machine import gpu_facts, machine


@pytest.fixture
def gpu(monkeypatch):
    """A GPU's name where there is none."""
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "Some GPU")


@pytest.mark.parametrize("tf32", [True, False])
def test_the_gpu_and_its_precision_are_facts(gpu, monkeypatch, tf32):
    monkeypatch.setattr("torch.backends.cudnn.allow_tf32", tf32)
    assert gpu_facts("cuda:0")["gpu"] == machine("cuda")["device"] == "Some GPU"
    assert gpu_facts("cuda:0")["tf32"] == {"convolutions": tf32, "products": False}


def test_a_processor_has_a_name_and_no_gpu_facts():
    assert gpu_facts("cpu") == {} and machine("cpu")["device"]
