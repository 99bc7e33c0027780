"""EfficientAD's three networks as one graph, from an image's pixels to its anomaly map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from . import pdn


class AnomalyMapModel(nn.Module):
    """All three networks as one graph: images, uint8 (n, height, width, 3) -> anomaly maps (n, height, width).

    Args:
        teacher: with the statistics of its channels in its last convolution.
        pair: student and autoencoder.
        border: what fills the patches that a map lacks at its border, see `EfficientADSettings`.
        size: (height, width) of the images.
        map_size: (height, width) of the anomaly maps; that of the images unless given.
    """

    factor: Tensor
    shift: Tensor

    def __init__(
        self,
        teacher: pdn.PatchDescription,
        pair: pdn.Pair,
        border: str,
        size: tuple[int, int],
        map_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.teacher, self.pair, self.border, self.size = teacher, pair, border, size
        self.map_size = map_size or size
        self.register_buffer("factor", torch.ones(2))
        self.register_buffer("shift", torch.zeros(2))

    def set_levels(self, levels: Sequence[Sequence[float]]) -> None:
        """Scale each of the two maps to 0 at its q_a and 0.1 at its q_b; the anomaly map is their mean.

        Args:
            levels: (q_a, q_b) of the student's map and of the autoencoder's.
        """
        for number, (low, high) in enumerate(levels):
            self.factor[number] = 0.5 * 0.1 / (high - low)
            self.shift[number] = -0.5 * 0.1 * low / (high - low)

    def raw(self, images: Tensor) -> Tensor:
        """Mean squared distances of teacher and autoencoder to the student, (n, 2, h, w)."""
        x = pdn.inputs(images)
        student = self.pair.student(x)
        pairs = ((self.teacher(x), student[:, : pdn.CHANNELS]), (self.pair.autoencoder(x), student[:, pdn.CHANNELS :]))
        return torch.stack([(a - b).square().mean(1) for a, b in pairs], 1)

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
        return interpolate(maps, size=self.map_size, mode="bilinear", align_corners=False)

    def _with_border(self, maps: Tensor) -> Tensor:
        if self.pair.student.padding:
            return maps
        margin = (pdn.MARGIN,) * 4
        return pad(maps, margin, "replicate") if self.border == "replicate" else pad(maps, margin)
