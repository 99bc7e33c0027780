"""What padim-tensorflow does and does not mean to: needed to run its published rows, and for nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ..data.mvtec import Sample
from ..features.dimensions import Embedding
from .settings import PaDiMSettings, Quirk
from .smoothing import image_scores, smooth

T = TypeVar("T")

BATCH = 32


@dataclass(frozen=True)
class Quirks:
    """The steps of PaDiM in which padim-tensorflow may differ: each as in the paper, unless its quirk is named.

    >>> Quirks().training_samples("a" * 40) == Quirks(("last batch left out",)).training_samples("a" * 40)
    False
    """

    names: tuple[Quirk, ...] = ()

    def training_samples(self, samples: Sequence[T]) -> Sequence[T]:
        """The samples that are fitted."""
        return whole_batches(samples) if "last batch left out" in self.names else samples

    def std(self, std: Tensor) -> Tensor:
        """What the backbone's input is divided by."""
        return std.sqrt() if "input over root of deviation" in self.names else std

    def features(self, feature_maps: Sequence[Tensor], embedding: Embedding) -> list[Tensor]:
        """The chosen dimensions, one tensor a layer, coarse to fine, of feature maps, fine to coarse."""
        if "coarse maps scrambled" in self.names:
            return [scrambled([feature_maps[layer] for layer in embedding.layers], embedding.chosen)]
        return embedding.features(feature_maps)

    def image_scores(self, maps: Tensor, distances: Tensor, settings: PaDiMSettings, roi: Tensor | None) -> Tensor:
        """The image scores (n,) of smoothed maps (n, height, width), or of the distances (n, h, w) beneath."""
        if "smallest distance" in self.names:
            return smallest_distance(distances, settings.sigma, settings.border)
        return image_scores(maps, settings.score, roi)

    def counts(self, samples: Sequence[Sample]) -> np.ndarray | None:
        """How often each test image counts: good ones of wood twice, as their folder is listed twice; None for once."""
        if "good wood twice" not in self.names:
            return None
        twice = np.array([not s.label and s.image.parent.parent.parent.name == "wood" for s in samples], dtype=bool)
        return 1 + twice.astype(int) if twice.any() else None


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
