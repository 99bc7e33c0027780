"""A detector or a training's state in one file: safetensors with a JSON header, nothing that is executed on reading."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import ModelError, OptionError
from .files import whole_file

FORMAT = "padim-nb/{}/1"  # of "padim", "efficientad", "least-squares-student" or "training"
KEY = "padim_nb"
_UNREADABLE = (SafetensorError, OSError, KeyError, ValueError, TypeError)
LARGEST_IMAGE = 2**28  # pixels: a header that claims more is damaged, and would claim the memory too


def write_model(path: Path, kind: str, header: Mapping[str, object], tensors: Mapping[str, Tensor]) -> Path:
    """Write tensors and a header of plain values, whole or not at all."""
    text = json.dumps({"format": FORMAT.format(kind), **header})
    with whole_file(path) as scratch:
        save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, scratch, {KEY: text})
    return path


def read_model(path: Path, kind: str) -> tuple[dict, dict[str, Tensor]]:
    """(header, tensors) of a file of this kind that `write_model` wrote."""
    if not path.is_file():
        raise ModelError(f"no model file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except _UNREADABLE as error:
        raise ModelError(f"{path} is not a whole model file of padim-nb: fit the detector and save it again") from error
    format_ = header.get("format") if isinstance(header, dict) else header
    if format_ != (wanted := FORMAT.format(kind)) or not isinstance(header, dict):
        raise ModelError(f"{path} is of format {format_!r}, wanted is {wanted!r}: fit the detector again")
    return header, tensors


@contextmanager
def making_sense_of(path: Path) -> Iterator[None]:
    """What a header of a right format says may still be nonsense: one clear line for whatever comes of it."""
    try:
        yield
    except OptionError as error:  # settings, in their own words
        raise ModelError(f"{path} is a model file of another version: {error}; fit the detector again") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise ModelError(
            f"{path} is not a whole model file of padim-nb ({reason}): fit the detector and save it again"
        ) from error


def image_size(value: Sequence[int]) -> tuple[int, int]:
    """(height, width) as a header holds it."""
    height, width = value
    if not 0 < height * width <= LARGEST_IMAGE or not isinstance(height * width, int):
        raise ValueError(f"images of {height}x{width}")
    return height, width


def holds(path: Path, kind: str) -> bool:
    """Whether a file can be read and is of this kind."""
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {})[KEY])["format"] == FORMAT.format(kind)
    except _UNREADABLE:
        return False


def packed(lower: Tensor) -> Tensor:
    """Lower triangles (p, c, c) without their zeros: (p, c (c + 1) / 2)."""
    rows, columns = torch.tril_indices(*lower.shape[-2:])
    return lower[:, rows, columns]


def unpacked(values: Tensor, c: int) -> Tensor:
    """The lower triangles (p, c, c) again."""
    full = values.new_zeros(len(values), c, c)
    rows, columns = torch.tril_indices(c, c)
    full[:, rows, columns] = values
    return full
