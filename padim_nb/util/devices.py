"""Where to compute: the GPU where there is one, unless a device is given."""

from __future__ import annotations

import re

import torch

from ..errors import OptionError
from .machine import cpuinfo


def pick_device(name: str) -> str:
    """The device of this name: "auto" (the GPU where there is one), "cpu", "cuda" or "cuda:1"; refused if not here."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name, flags=re.ASCII):
        raise OptionError(f"no device {name!r}: use auto, cpu, cuda or cuda:1")
    if name != "cpu":
        if not torch.cuda.is_available():
            raise OptionError("there is no CUDA device here: use --device cpu or auto")
        count = torch.cuda.device_count()
        if int(name.partition(":")[2] or 0) >= count:
            raise OptionError(f"no device '{name}': the {count} here are numbered 0 to {count - 1}, use cuda or auto")
    return name


def has_fast_bf16(device: str) -> bool:
    """Whether bfloat16 is computed by the hardware: on GPUs that do not emulate it, on processors with AVX-512 BF16."""
    if device.startswith("cuda"):
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and "avx512_bf16" in cpuinfo("flags")
