"""EfficientAD's three networks as one graph, from an image's pixels to its anomaly map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, pad

from . import pdn

REACH, SIGMA = 3, 1.0  # of the blur, in patches: it is as wide as PaDiM's


class AnomalyMapModel(nn.Module):
    """All three networks as one graph: images, uint8 (n, height, width, 3) -> anomaly maps (n, height, width).

    Args:
        teacher: with the statistics of its channels in its last convolution.
        pair: student and autoencoder.
        border: what fills the patches that a map lacks at its border, see `EfficientADSettings`.
        size: (height, width) of the images.
        places: standardize both maps at each place, see `weighing.py`, and blur them.
    """

    factor: Tensor
    shift: Tensor
    mean: Tensor
    deviation: Tensor
    blur: Tensor

    def __init__(
        self, teacher: pdn.PatchDescription, pair: pdn.Pair, border: str, size: tuple[int, int], places: bool = False
    ) -> None:
        super().__init__()
        self.places = places
        if places:
            self.register_buffer("mean", torch.zeros(2, *pdn.grid(*size, pair.student.padding)))
            self.register_buffer("deviation", torch.ones_like(self.mean))
            line = torch.exp(-torch.arange(-REACH, REACH + 1.0).square() / (2 * SIGMA**2))
            blur = torch.outer(line, line) / line.sum().square()
            self.register_buffer("blur", blur.expand(2, 1, -1, -1).clone(), persistent=False)
        self.teacher, self.pair, self.border, self.size = teacher, pair, border, size
        self.register_buffer("factor", torch.ones(2))
        self.register_buffer("shift", torch.zeros(2))

    def set_levels(self, levels: Sequence[Sequence[float]], shares: Sequence[float] = (0.5, 0.5)) -> None:
        """Scale each of the two maps to 0 at its q_a and 0.1 at its q_b; the anomaly map is their weighted mean.

        Args:
            levels: (q_a, q_b) of the student's map and of the autoencoder's.
            shares: what each counts, with a sum of 1.
        """
        for number, ((low, high), share) in enumerate(zip(levels, shares, strict=True)):
            self.factor[number] = share * 0.1 / (high - low)
            self.shift[number] = -share * 0.1 * low / (high - low)

    def raw(self, images: Tensor) -> Tensor:
        """Mean squared distances of teacher and autoencoder to the student, as they weigh, (n, 2, h, w)."""
        x = pdn.inputs(images)
        student = self.pair.student(x)
        pairs = ((self.teacher(x), student[:, : pdn.CHANNELS]), (self.pair.autoencoder(x), student[:, pdn.CHANNELS :]))
        maps = torch.stack([(a - b).square().mean(1) for a, b in pairs], 1)
        return self.at_places(maps) if self.places else maps

    def at_places(self, distances: Tensor, first: int = 0) -> Tensor:
        """Both maps of distances (n, 2, h, w), or from the `first` on, standardized at each place and blurred."""
        maps = (distances - self.mean[first:]) / self.deviation[first:]
        return conv2d(pad(maps, (REACH,) * 4, "reflect"), self.blur[first:], groups=maps.shape[1])

    def forward(self, images: Tensor) -> Tensor:
        return self.combined(self.raw(images))

    def combined(self, raw: Tensor) -> Tensor:
        """Anomaly maps (n, height, width) of the two maps (n, 2, h, w)."""
        if self.border == "raw-zero":
            raw = self._with_border(raw)
        both = raw * self.factor[:, None, None] + self.shift[:, None, None]
        maps = both.sum(1, keepdim=True)
        if self.border != "raw-zero":
            maps = self._with_border(maps)
        return self._resized(maps)[:, 0]

    def for_quantiles(self, raw: Tensor) -> Tensor:
        """The two maps whose quantiles are taken, (n, 2, h, w): of the patches, or for "raw-zero" of all pixels."""
        return self._resized(self._with_border(raw)) if self.border == "raw-zero" else raw

    def _resized(self, maps: Tensor) -> Tensor:
        return interpolate(maps, size=self.size, mode="bilinear", align_corners=False)

    def _with_border(self, maps: Tensor) -> Tensor:
        if self.pair.student.padding:
            return maps
        margin = (pdn.MARGIN,) * 4
        return pad(maps, margin, "replicate") if self.border == "replicate" else pad(maps, margin)
