"""Where to compute: the GPU where there is one, unless told otherwise."""

from __future__ import annotations

import torch

from ..errors import OptionError


def pick_device(wish: str) -> str:
    """'auto' is the GPU where there is one; a wish that cannot be met is refused."""
    if wish == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wish.startswith("cuda") and not torch.cuda.is_available():
        raise OptionError("there is no CUDA device here: use --device cpu or auto")
    try:
        return str(torch.device(wish))
    except RuntimeError:
        raise OptionError(f"no device {wish!r}: use auto, cpu or cuda") from None


def has_fast_bf16(device: str) -> bool:
    """Whether bfloat16 is quick here: on GPUs, and on processors that have the instructions for it."""
    if str(device).startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported() and "avx512_bf16" in _flags()


def _flags() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        return ""
