"""What padim-tensorflow does and does not mean to: needed to run its published rows, and for nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from .smoothing import smooth

T = TypeVar("T")

BATCH = 32


def whole_batches(samples: Sequence[T]) -> Sequence[T]:
    """The samples without a last, smaller batch of 32; all of them where there is no other."""
    return samples[: len(samples) // BATCH * BATCH] or samples


def scrambled(feature_maps: Sequence[Tensor], chosen: Sequence[Sequence[int]]) -> Tensor:
    """The chosen channels of all layers on the finest grid, coarse ones where that code puts them.

    It fills the fine positions of a coarse cell, in order, with the values of consecutive coarse positions.

    Args:
        feature_maps: one tensor a layer, fine to coarse, each (n, channels, height, width).
        chosen: the channels of each layer.

    Returns:
        One layer (n, d, height, width).
    """
    height, width = feature_maps[0].shape[-2:]
    joined = [feature_maps[0][:, list(chosen[0])]]
    for coarse, index in zip(feature_maps[1:], chosen[1:], strict=True):
        h, w = coarse.shape[-2:]
        s = height // h
        row, column = torch.arange(height)[:, None], torch.arange(width)[None]
        place = ((row // s) * w + column // s) * s * s + (row % s) * s + column % s
        source = (place % (h * w)).to(coarse.device).flatten()
        joined.append(coarse[:, list(index)].flatten(2)[:, :, source].unflatten(2, (height, width)))
    return torch.cat(joined, dim=1)


def smallest_distance(distances: Tensor, sigma: float, border: str) -> Tensor:
    """The published image score: the smallest of the distances (n, height, width), blurred on their own grid.

    Returns:
        Scores (n,).
    """
    height, width = distances.shape[-2:]
    return smooth(distances, (height, width), sigma, border, "bilinear").amin((1, 2))
