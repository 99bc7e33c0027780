"""Count, mean and scatter of patch vectors, summed batch by batch; any order, any split, the same result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import OptionError
from ..util.threads import in_threads
from .grids import Grid, blocks, grids_of, nested, stacked

# A covariance summed in float32 is known to one part in 10^7 of its largest variance, which must stay small beside
# eps. So sums are float64 while they take at most so many bytes, and always where features are this large.
DOUBLE_UP_TO = 1 << 30
LARGE_SQUARE = 10.0


@dataclass
class Moments:
    """Running moments of patch vectors; memory does not grow with the number of images.

    >>> features = [torch.rand(6, 3, 2, 2), torch.rand(6, 2, 4, 4)]  # layers, coarse to fine
    >>> moments = Moments.from_features([layer[:4] for layer in features]).add([layer[4:] for layer in features])
    >>> moments.count, moments.scatter[1][0].shape  # a position of the fine layer pairs with its coarse one's channels
    (6, torch.Size([16, 2, 3]))

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
        device, grids = features[0].device, grids_of(features)
        squares = in_threads(lambda layer: float(layer.square().mean()), features, device)
        large = max(squares) > LARGE_SQUARE
        dtype = torch.float64 if large else precision(features)
        channels = [layer.shape[1] for layer in features]
        mean, scatter = [], []
        for k, (height, width) in enumerate(grids):
            mean.append(torch.zeros(height * width, channels[k], dtype=dtype, device=device))
            scatter.append([mean[k].new_zeros(height * width, channels[k], c) for c in channels[: k + 1]])
        return cls(grids, 0, mean, scatter).add(features)

    def add(self, features: Sequence[Tensor]) -> Moments:
        """Add a batch in place: the same moments as of all vectors at once."""
        if grids_of(features) != self.grids:
            raise OptionError(f"these feature maps do not have the grids {self.grids} the model was fitted with")
        n = len(features[0])

        def update(rows: list[slice]) -> None:
            vectors = [v.to(self.mean[0]) for v in nested(features, rows)]
            means = [v.mean(-1) for v in vectors]
            self._absorb(rows, n, means, [v - mean[..., None] for v, mean in zip(vectors, means, strict=True)])

        device = self.mean[0].device
        in_threads(update, blocks(self.grids, device), device)
        self.count += n
        return self

    def merge(self, other: Moments) -> Moments:
        """Add other moments in place, such as those of another machine; they are not changed and may lie elsewhere."""
        if other.grids != self.grids or [m.shape for m in other.mean] != [m.shape for m in self.mean]:
            raise OptionError("only moments of the same backbone, dimensions and image size can be merged")
        for row, other_row in zip(self.scatter, other.scatter, strict=True):
            for sums, other_sums in zip(row, other_row, strict=True):
                sums += other_sums.to(sums)
        means = [mean.to(self.mean[0]) for mean in other.mean]
        every, none = [slice(None)] * len(means), [mean.new_empty(*mean.shape, 0) for mean in means]
        self._absorb(every, other.count, means, none)
        self.count += other.count
        return self

    def copy(self, device: torch.device | str | None = None) -> Moments:
        """An independent copy, on another device where one is given."""
        mean = [m.to(device, copy=True) for m in self.mean]
        return Moments(self.grids, self.count, mean, [[s.to(device, copy=True) for s in row] for row in self.scatter])

    def _absorb(self, rows: list[slice], n: int, means: list[Tensor], deviations: list[Tensor]) -> None:
        """Add n images to these rows of each layer, given their means (positions, c) and the deviations from them.

        It is Chan's update: with N images so far, sqrt(n N / (n + N)) times the shift of the mean counts as one more
        deviation.
        """
        total = n + self.count
        columns = []
        for own, mean, new, deviation in zip(rows, self.mean, means, deviations, strict=True):
            shift = new - mean[own]
            columns.append(torch.cat([deviation, shift[..., None] * (n * self.count / total) ** 0.5], dim=-1))
            mean[own] += shift * (n / total)
        for own, fine, row in zip(rows, columns, self.scatter, strict=True):
            for sums, coarse in zip(row, columns, strict=False):  # a row ends at its own layer
                stacked(sums[own], coarse).baddbmm_(stacked(fine, coarse), coarse.mT)


def precision(features: Sequence[Tensor]) -> torch.dtype:
    """The type of the sums of such features: float64 where they are small enough for it."""
    channels, numbers = 0, 0
    for layer in features:
        channels += layer.shape[1]
        numbers += layer.shape[-2] * layer.shape[-1] * layer.shape[1] * channels
    return torch.float64 if numbers * 8 <= DOUBLE_UP_TO else torch.float32
