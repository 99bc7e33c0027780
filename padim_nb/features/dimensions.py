"""Which channels of which tap a patch vector is made of, chosen before anything is up-sampled."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import OptionError


def random_dimensions(total: int, d: int, seed: int) -> list[int]:
    """The d of `total` channels that Python's `random.sample` draws after `random.seed(seed)`, in drawing order."""
    return random.Random(seed).sample(range(total), d)


def semi_orthogonal(total: int, k: int, seed: int) -> Tensor:
    """A random matrix (total, k) with orthonormal columns: QR of a Gaussian one, signs fixed by R's diagonal."""
    gaussian = torch.randn(total, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, r = torch.linalg.qr(gaussian)
    return (q * torch.sign(torch.diagonal(r))).float()


@dataclass(frozen=True)
class Embedding:
    """Turns the taps' maps into levels of chosen channels, from coarse to fine.

    `chosen` holds the kept channels of each tap, or `projection` (all channels, k) mixes them.
    """

    channels: tuple[int, ...]
    chosen: tuple[tuple[int, ...], ...] | None
    projection: Tensor | None

    @property
    def d(self) -> int:
        """The length of a patch vector."""
        return sum(map(len, self.chosen)) if self.chosen is not None else self.projection.shape[1]

    def levels(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Taps' maps [(b, c, h, w)] -> levels [(b, c', h', w')] from coarse to fine.

        Each finer grid is a whole multiple of the coarser one, so that nearest up-sampling only repeats; where the
        taps do not allow that, or channels are mixed, there is one level on the finest grid.
        """
        if self.chosen is None:
            parts = torch.split(self.projection.to(maps[0].device), list(self.channels))
            finest = max((m.shape[-2:] for m in maps), key=lambda size: size[0] * size[1])
            mixed = [torch.einsum("bchw,ck->bkhw", m, w) for m, w in zip(maps, parts, strict=True)]
            return [sum(interpolate(m, size=finest, mode="nearest") for m in mixed)]
        kept = [m[:, list(index)] for m, index in zip(maps, self.chosen, strict=True) if index]
        grids = sorted({_grid(m) for m in kept})
        levels = [torch.cat([m for m in kept if _grid(m) == grid], dim=1) for grid in grids]
        if all(_nests(fine, coarse) for coarse, fine in pairwise(grids)):
            return levels
        return [joined(levels)]


def joined(levels: Sequence[Tensor]) -> Tensor:
    """Levels [(b, c, h, w)] up-sampled to the finest grid, the last one, as one: (b, d, h, w)."""
    size = levels[-1].shape[-2:]
    return torch.cat([interpolate(level, size=size, mode="nearest") for level in levels], dim=1)


def _grid(m: Tensor) -> tuple[int, int]:
    return int(m.shape[-2]), int(m.shape[-1])  # while a graph is traced a shape holds tensors, each unlike all others


def _nests(fine: tuple[int, int], coarse: tuple[int, int]) -> bool:
    ratio = fine[0] // coarse[0]
    return fine == (coarse[0] * ratio, coarse[1] * ratio)


def _by_tap(chosen: Sequence[int], channels: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    first = [sum(channels[:tap]) for tap in range(len(channels))]
    return tuple(
        tuple(index - start for index in chosen if start <= index < start + count)
        for start, count in zip(first, channels, strict=True)
    )


def embed(channels: Sequence[int], method: str, d: int | None = None, seed: int = 0) -> Embedding:
    """The embedding for taps with these numbers of channels: 'random' d of them, 'all', or an 'orthogonal' mixture."""
    total = sum(channels)
    if d is not None and d > total:
        raise OptionError(f"cannot choose d = {d} of {total} channels: take a smaller d or more taps")
    if method == "orthogonal":
        return Embedding(tuple(channels), None, semi_orthogonal(total, d, seed))
    chosen = list(range(total)) if method == "all" else random_dimensions(total, d, seed)
    return Embedding(tuple(channels), _by_tap(chosen, channels), None)
