"""What padim-tensorflow does and does not mean to: needed to run its published rows, and for nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from .smoothing import smooth

T = TypeVar("T")

BATCH = 32


def whole_batches(samples: Sequence[T]) -> Sequence[T]:
    """The samples without a last, smaller batch; all of them if there is only that."""
    return samples[: len(samples) // BATCH * BATCH] or samples


def with_root_of_deviation(backbone: nn.Module) -> None:
    """Make a backbone divide its input by the root of the deviation."""
    backbone.std.copy_(backbone.std.sqrt())


def scrambled(taps: Sequence[Tensor], chosen: Sequence[Sequence[int]]) -> Tensor:
    """The chosen channels of taps (b, c, h, w), fine to coarse, on the finest grid, each coarse one where that code
    puts it: it fills the fine cells of a coarse cell, in order, with the values of consecutive coarse cells.
    """
    high, wide = taps[0].shape[-2:]
    joined = [taps[0][:, list(chosen[0])]]
    for tap, index in zip(taps[1:], chosen[1:], strict=True):
        h, w = tap.shape[-2:]
        s = high // h
        row, column = torch.arange(high)[:, None], torch.arange(wide)[None]
        place = ((row // s) * w + column // s) * s * s + (row % s) * s + column % s
        source = (place % (h * w)).to(tap.device).flatten()
        joined.append(tap[:, list(index)].flatten(2)[:, :, source].unflatten(2, (high, wide)))
    return torch.cat(joined, dim=1)


def smallest_distance(distances: Tensor, sigma: float, border: str) -> Tensor:
    """The published image score (b,): the smallest of the distances (b, h, w), blurred on their own grid."""
    return smooth(distances, tuple(distances.shape[-2:]), sigma, border, "bilinear").amin((1, 2))
