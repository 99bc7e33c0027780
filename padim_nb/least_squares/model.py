"""EfficientAD's autoencoder and graph, with what the least-squares student adds to them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from ..efficientad import pdn
from ..efficientad.model import AnomalyMapModel

REACH, BLUR = 3, 1.0  # of the blur of both maps, in patches: it is as wide as PaDiM's


class CenteredAutoencoder(pdn.Autoencoder):
    """An autoencoder whose layers give what differs from `center`, a buffer (384, h, w).

    Args:
        grid: (h, w).
    """

    center: Tensor

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(pdn.CHANNELS, *grid))

    def forward(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        difference = super().forward(x, rng)
        return difference + self.center.to(difference.dtype)


class WeighedMaps(AnomalyMapModel):
    """EfficientAD's graph with both maps standardized at each place, blurred, and weighed.

    Attributes:
        weights: of the student's map and of the autoencoder's, set by `weigh`; None for alike.
        shares: what each map counts, with a sum of 1; set by `set_levels`.
    """

    mean: Tensor
    deviation: Tensor
    blur: Tensor

    def __init__(self, teacher: pdn.PatchDescription, pair: pdn.Pair, border: str, size: tuple[int, int]) -> None:
        super().__init__(teacher, pair, border, size)
        self.register_buffer("mean", torch.zeros(2, *pdn.grid(*size, pair.student.padding)))
        self.register_buffer("deviation", torch.ones_like(self.mean))
        line = torch.exp(-torch.arange(-REACH, REACH + 1.0).square() / (2 * BLUR**2))
        blur = torch.outer(line, line) / line.sum().square()
        self.register_buffer("blur", blur.expand(2, 1, -1, -1).clone(), persistent=False)
        self.weights: tuple[float, float] | None = None
        self.shares = (0.5, 0.5)

    def set_levels(self, levels: Sequence[Sequence[float]]) -> None:
        """Scale each map to 0 at its q_a and 0.1 at its q_b; the anomaly map is their mean as `weights` has it."""
        if self.weights is not None:
            student, autoencoder = (w * (high - low) for w, (low, high) in zip(self.weights, levels, strict=True))
            self.shares = student / (student + autoencoder), autoencoder / (student + autoencoder)
        for number, ((low, high), share) in enumerate(zip(levels, self.shares, strict=True)):
            self.factor[number] = share * 0.1 / (high - low)
            self.shift[number] = -share * 0.1 * low / (high - low)

    def raw(self, images: Tensor) -> Tensor:
        """Both maps (n, 2, h, w) before their quantiles scale them."""
        return self.at_places(super().raw(images))

    def at_places(self, distances: Tensor, first: int = 0) -> Tensor:
        """Both maps of distances (n, 2, h, w), or from the `first` on, standardized at each place and blurred."""
        maps = (distances - self.mean[first:]) / self.deviation[first:]
        return conv2d(pad(maps, (REACH,) * 4, "reflect"), self.blur[first:], groups=maps.shape[1])
