"""Count, mean and scatter of patch vectors, summed batch by batch; any order, any split, the same result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import OptionError
from .grids import Grid, grid_of, nested, stacked

# A covariance summed in float32 is known to one part in 10^7 of its largest variance, which must stay small beside
# eps. So sums are float64 while they take at most so many bytes, and always where features are this large.
DOUBLE_UP_TO = 1 << 30
LARGE_SQUARE = 10.0


@dataclass
class Moments:
    """Moments of patch vectors; memory does not grow with the number of images.

    `mean[k]` is (positions, c); `scatter[k][j]` (positions of k, c of k, c of j) pairs layer k with a coarser layer j
    or itself. Layers go coarse to fine, positions are in nested order (`grids`).
    """

    grids: tuple[Grid, ...]
    count: int
    mean: list[Tensor]
    scatter: list[list[Tensor]]

    @classmethod
    def from_features(cls, features: Sequence[Tensor]) -> Moments:
        """Moments of one batch of features [(n, channels, height, width)], coarse to fine."""
        large = any(layer.square().mean() > LARGE_SQUARE for layer in features) and features[0].device.type != "mps"
        dtype = torch.float64 if large else precision(features)
        vectors = [v.to(dtype) for v in nested(features)]
        mean = [v.mean(-1) for v in vectors]
        centered = [v - m[..., None] for v, m in zip(vectors, mean, strict=True)]
        scatter = [[_products(centered[k], centered[j]) for j in range(k + 1)] for k in range(len(features))]
        return cls(tuple(map(grid_of, features)), len(features[0]), mean, scatter)

    def add(self, features: Sequence[Tensor]) -> Moments:
        """Add a batch in place (Chan's update): the same moments as of all vectors at once."""
        return self._change(features, 1)

    def without(self, features: Sequence[Tensor]) -> Moments:
        """The moments of all other images; those of `features` must be among the ones summed up here."""
        return self.copy()._change(features, -1)

    def merge(self, other: Moments) -> Moments:
        """Add other moments in place, such as those of another machine; they are not changed and may lie elsewhere."""
        if other.grids != self.grids or [m.shape for m in other.mean] != [m.shape for m in self.mean]:
            raise OptionError("only moments of the same backbone, dimensions and image size can be merged")
        weight = (other.count * self.count / (other.count + self.count)) ** 0.5
        means = [b.to(a) for a, b in zip(self.mean, other.mean, strict=True)]
        shift = [((b - a) * weight)[..., None] for a, b in zip(self.mean, means, strict=True)]
        for row, other_row in zip(self.scatter, other.scatter, strict=True):
            for a, b in zip(row, other_row, strict=True):
                a += b.to(a)
        self._absorb(shift, means, other.count)
        return self

    def copy(self, device: torch.device | str | None = None) -> Moments:
        """An independent copy, on another device where one is given."""
        mean = [m.to(device, copy=True) for m in self.mean]
        return Moments(self.grids, self.count, mean, [[s.to(device, copy=True) for s in row] for row in self.scatter])

    def _change(self, features: Sequence[Tensor], sign: int) -> Moments:
        """Add a batch, or take it out again."""
        if tuple(map(grid_of, features)) != self.grids:
            raise OptionError(f"these feature maps do not have the grids {self.grids} the model was fitted with")
        vectors, n = [v.to(self.mean[0]) for v in nested(features)], sign * len(features[0])
        mean = [v.mean(-1) for v in vectors]
        # sqrt(n N / (n + N)) times the shift of the mean is one more centered vector: no second pass over the scatter
        weight = abs(n * self.count / (n + self.count)) ** 0.5
        centered = [
            torch.cat([v - m[..., None], (m - old)[..., None] * weight], dim=-1)
            for v, m, old in zip(vectors, mean, self.mean, strict=True)
        ]
        self._absorb(centered, mean, n)
        return self

    def _absorb(self, centered: list[Tensor], mean: list[Tensor], count: int) -> None:
        for k, row in enumerate(self.scatter):
            for j, total in enumerate(row):
                rows = stacked(centered[k], centered[j])
                stacked(total, centered[j]).baddbmm_(rows, centered[j].mT, alpha=1 if count > 0 else -1)
        for old, new in zip(self.mean, mean, strict=True):
            old += (new - old) * (count / (count + self.count))
        self.count += count


def precision(features: Sequence[Tensor]) -> torch.dtype:
    """The type of the sums of such features: float64 where they are small enough for it."""
    channels, numbers = 0, 0
    for layer in features:
        channels += layer.shape[1]
        numbers += layer.shape[-2] * layer.shape[-1] * layer.shape[1] * channels
    return torch.float64 if numbers * 8 <= DOUBLE_UP_TO and features[0].device.type != "mps" else torch.float32


def _products(fine: Tensor, coarse: Tensor) -> Tensor:
    """Sum over images of fine times coarse: (P, c, n) and (P', c', n) -> (P, c, c')."""
    return torch.bmm(stacked(fine, coarse), coarse.mT).view(*fine.shape[:2], coarse.shape[1])
