"""EfficientAD's three networks as it looks at a picture: one graph from pixels to a map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from ..features.backbones import normalised
from . import pdn


class AnomalyMapModel(nn.Module):
    """All three networks as one graph: framed pictures, uint8 (b, h, w, 3) -> maps (b, h, w).

    The teacher's statistics are in its last convolution; `levels` (q_a and q_b of the student's and of the
    autoencoder's map) become one factor and one shift for each.
    """

    def __init__(self, teacher: nn.Module, pair: pdn.Pair, border: str, size: tuple[int, int]) -> None:
        super().__init__()
        self.teacher, self.pair, self.border, self.size = teacher, pair, border, size
        self.register_buffer("factor", torch.ones(2))
        self.register_buffer("shift", torch.zeros(2))

    def set_levels(self, levels: Sequence[Sequence[float]]) -> None:
        """Let each map be 0 at its q_a and 0.1 at its q_b, and the result their mean."""
        for number, (low, high) in enumerate(levels):
            self.factor[number] = 0.5 * 0.1 / (high - low)
            self.shift[number] = -0.5 * 0.1 * low / (high - low)

    def raw(self, shown: Tensor) -> Tensor:
        """(b, 2, h', w'): how far the student is from its teacher, and from the autoencoder."""
        x = normalised(shown.permute(0, 3, 1, 2).float() / 255)
        student = self.pair.student(x)
        pairs = ((self.teacher(x), student[:, : pdn.CHANNELS]), (self.pair.autoencoder(x), student[:, pdn.CHANNELS :]))
        return torch.stack([(a - b).square().mean(1) for a, b in pairs], 1)

    def forward(self, shown: Tensor) -> Tensor:
        raw = self.raw(shown)
        if self.border == "raw-zero":
            raw = self._framed(raw)
        both = raw * self.factor[:, None, None] + self.shift[:, None, None]
        maps = both.sum(1, keepdim=True)
        if self.border != "raw-zero":
            maps = self._framed(maps)
        return self.resized(maps)[:, 0]

    def resized(self, maps: Tensor) -> Tensor:
        return interpolate(maps, size=self.size, mode="bilinear", align_corners=False)

    def _framed(self, maps: Tensor) -> Tensor:
        if self.pair.student.padding:
            return maps
        margin = (pdn.MARGIN,) * 4
        return pad(maps, margin, "replicate") if self.border == "replicate" else pad(maps, margin)

    def judged(self, shown: Tensor) -> Tensor:
        """The two maps over which the quantiles are taken: the patches themselves, or for "raw-zero" all pixels."""
        raw = self.raw(shown)
        return self.resized(self._framed(raw)) if self.border == "raw-zero" else raw
