"""The channels of each layer that make a patch vector, chosen before anything is up-sampled."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import OptionError


def random_dimensions(total: int, d: int, seed: int) -> list[int]:
    """The d of `total` channels that Python's `random.sample` draws after `random.seed(seed)`, in drawing order."""
    return random.Random(seed).sample(range(total), d)


def semi_orthogonal(total: int, d: int, seed: int) -> Tensor:
    """A random matrix (total, d) with orthonormal columns: QR of a Gaussian one, signs fixed by R's diagonal."""
    gaussian = torch.randn(total, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, r = torch.linalg.qr(gaussian)
    return (q * torch.sign(torch.diagonal(r))).float()


@dataclass(frozen=True)
class Embedding:
    """The dimensions of a patch vector: `chosen` channels of each layer, or a `projection` of all channels.

    Args:
        layers: the numbers of the backbone's layers that are used, fine to coarse, from 0.
        channels: of each used layer.
        chosen: the numbers of the chosen channels of each used layer.
        projection: (all channels, d); takes the place of `chosen` where it is given.
    """

    layers: tuple[int, ...]
    channels: tuple[int, ...]
    chosen: tuple[tuple[int, ...], ...]
    projection: Tensor | None = None

    @property
    def d(self) -> int:
        """The length of a patch vector."""
        return sum(map(len, self.chosen)) if self.projection is None else self.projection.shape[1]

    def features(self, feature_maps: Sequence[Tensor]) -> list[Tensor]:
        """The chosen channels, layers of one grid put together.

        Each grid is a whole multiple of the coarser one, so that nearest up-sampling only repeats. Where the feature
        maps do not allow that, and for a projection, everything is on the finest grid.

        Args:
            feature_maps: one tensor a layer of the backbone, fine to coarse, each (n, channels, height, width).

        Returns:
            One tensor a grid, coarse to fine, each (n, channels, height, width).
        """
        feature_maps = [feature_maps[layer] for layer in self.layers]
        if self.projection is not None:
            parts = torch.split(self.projection.to(feature_maps[0].device), list(self.channels))
            finest = max((m.shape[-2:] for m in feature_maps), key=lambda size: size[0] * size[1])
            mixed = [torch.einsum("bchw,ck->bkhw", m, w) for m, w in zip(feature_maps, parts, strict=True)]
            return [reduce(torch.add, (interpolate(m, size=finest, mode="nearest") for m in mixed))]
        chosen = [m[:, list(index)] for m, index in zip(feature_maps, self.chosen, strict=True) if index]
        grids = sorted({_grid(m) for m in chosen})
        features = [torch.cat([m for m in chosen if _grid(m) == grid], dim=1) for grid in grids]
        if all(_nests(fine, coarse) for coarse, fine in pairwise(grids)):
            return features
        return [joined(features)]


def joined(features: Sequence[Tensor]) -> Tensor:
    """Features [(n, channels, height, width)], coarse to fine, up-sampled to the finest grid: (n, d, height, width)."""
    size = features[-1].shape[-2:]
    return torch.cat([interpolate(layer, size=size, mode="nearest") for layer in features], dim=1)


def embed(
    channels: Sequence[int], method: str, d: int | None = None, seed: int = 0, layers: Sequence[int] | None = None
) -> Embedding:
    """The embedding for a backbone.

    Args:
        channels: of each of its layers, fine to coarse.
        method: "random" for d channels, "all", or "orthogonal" for a projection to d dimensions.
        d: the length of a patch vector; not needed for "all".
        seed: of the draw.
        layers: the numbers of the layers to use, from 0, fine to coarse; all unless given.
    """
    layers = tuple(range(len(channels)) if layers is None else layers)
    if not layers or list(layers) != sorted(set(layers)) or not 0 <= layers[0] <= layers[-1] < len(channels):
        raise OptionError(f"cannot use layers {layers} of {len(channels)}: give their numbers from 0, fine to coarse")
    channels = tuple(channels[layer] for layer in layers)
    total = sum(channels)
    d = total if d is None else d
    if d > total:
        raise OptionError(f"cannot choose d = {d} of {total} channels: take a smaller d or more layers")
    if method == "orthogonal":
        return Embedding(layers, channels, (), semi_orthogonal(total, d, seed))
    chosen = range(total) if method == "all" else random_dimensions(total, d, seed)
    bounds = pairwise(accumulate(channels, initial=0))
    of_layers = tuple(tuple(index - start for index in chosen if start <= index < end) for start, end in bounds)
    return Embedding(layers, channels, of_layers)


def _grid(m: Tensor) -> tuple[int, int]:
    return int(m.shape[-2]), int(m.shape[-1])  # while a graph is traced a shape holds tensors, each unlike all others


def _nests(fine: tuple[int, int], coarse: tuple[int, int]) -> bool:
    ratio = fine[0] // coarse[0]
    return fine == (coarse[0] * ratio, coarse[1] * ratio)
