"""What a PaDiM detector keeps of its training images: the features of few, running moments of many."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelError, OptionError
from ..util.threads import in_threads
from .gaussian import PatchGaussians
from .grids import Grid, grids_of
from .low_rank import LowRankGaussians, is_cheaper
from .moments import Moments
from .shrinkage import Eps, oas

Gaussians = PatchGaussians | LowRankGaussians
KEPT_IMAGES = 100  # images, up to which their features are kept and saved: exact p-values need them


@dataclass
class Statistics:
    """Features of up to `KEPT_IMAGES` images, or while the low-rank form is the cheaper one; then running moments.

    Args:
        form: of the Gaussians, as in the settings; "auto" takes the cheapest for the number of images.
        moments: of all images; None while features are kept.
        features: of all images in the order of `images`, one tensor a layer, coarse to fine.
        images: fingerprint of each image, int64 (n,).
        groups: fingerprint of each image's group, int64 (n,); 0 for an image on its own.
    """

    form: str = "auto"
    moments: Moments | None = None
    features: list[Tensor] | None = None
    images: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    groups: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def count(self) -> int:
        """The number of images."""
        return len(self.images)

    @property
    def has_sums(self) -> bool:
        """Whether features or moments are here; a model file has them of few images only."""
        return self.features is not None or self.moments is not None

    def keeps(self, features: Sequence[Tensor], expected: int) -> bool:
        """Whether the features of so many images are kept."""
        return expected <= KEPT_IMAGES or self._low_rank(features, expected)

    def add(self, features: list[Tensor], images: np.ndarray, groups: np.ndarray, expected: int) -> None:
        """Add a batch of images, of `expected` in the end: features [(n, channels, height, width)], coarse to fine."""
        if self.moments is None and self.keeps(features, expected):
            self.features = concatenated([self.features, features]) if self.features else features
        else:
            self._sum_up(features)
        self.images = np.concatenate([self.images, images])
        self.groups = np.concatenate([self.groups, groups])

    def merge(self, other: Statistics, device: str = "cpu") -> None:
        """Add the statistics of other images, moved to `device` where this is empty; `other` is not changed."""
        if other.features is not None:
            features = [layer.to(device) for layer in other.features]
            self.add(features, other.images, other.groups, self.count + other.count)
        elif other.moments is not None:
            self._sum_up()
            self.moments = self.moments.merge(other.moments) if self.moments else other.moments.copy(device)
            self.images = np.concatenate([self.images, other.images])
            self.groups = np.concatenate([self.groups, other.groups])

    def eps(self, setting: Eps) -> float:
        """What is added to the variances of these images, in numbers."""
        return oas(self._as_fitted()) if setting == "oas" else setting

    def gaussians(self, eps: float, dtype: torch.dtype = torch.float32) -> Gaussians:
        """One Gaussian a patch, in the form that the settings name or that is the cheapest."""
        fitted = self._as_fitted()
        if isinstance(fitted, Moments):
            return PatchGaussians.fit(fitted, eps, dtype)
        return LowRankGaussians.fit(fitted, eps, dtype)

    def _as_fitted(self) -> Moments | list[Tensor]:
        """Features for the low-rank form, moments for the others."""
        if self.features is not None and self._low_rank(self.features, self.count):
            return self.features
        if self.moments is None and self.features is None:
            raise ModelError("there are no images: fit the detector to at least 2")
        return self.moments or Moments.from_features(self.features or [])

    def _low_rank(self, features: Sequence[Tensor], count: int) -> bool:
        return self.form == "low-rank" or (self.form == "auto" and is_cheaper(features, count))

    def _sum_up(self, features: list[Tensor] | None = None) -> None:
        """Replace kept features by their moments, and add a batch to these."""
        for batch in (self.features, features):
            if batch is not None:
                self.moments = self.moments.add(batch) if self.moments else Moments.from_features(batch)
        self.features = None


def fingerprints(images: np.ndarray) -> np.ndarray:
    """64 bits of the SHA-256 of each image's pixels, int64 (n,)."""
    return np.array([_bits(np.ascontiguousarray(image).data) for image in images], dtype=np.int64)


def group_fingerprints(groups: Sequence[str]) -> np.ndarray:
    """The same of the names of groups, 0 for an image on its own."""
    return np.array([_bits(group.encode()) if group else 0 for group in groups], dtype=np.int64)


def _bits(content: bytes | memoryview) -> int:
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little", signed=True)


def read_gaussians(tensors: Mapping[str, Tensor], grids: tuple[Grid, ...], device: str) -> Gaussians:
    """Gaussians of either form out of a model file's tensors; KeyError or ValueError where these do not fit."""
    tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    if "gain.0" in tensors:  # with a single layer both forms hold the same
        return LowRankGaussians.from_tensors(tensors, grids)
    return PatchGaussians.from_tensors(tensors, grids)


def expect_fit(gaussians: Gaussians, features: Sequence[Tensor]) -> None:
    """ValueError unless the Gaussians are of features of these shapes."""
    channels, grids = [layer.shape[1] for layer in features], grids_of(features)
    own = [mean.shape[1] for mean in gaussians.mean]
    if gaussians.grids != grids or own != channels:
        raise ValueError(f"Gaussians of {own} channels on {gaussians.grids}, features of {channels} on {grids}")


def concatenated(batches: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Batches of features, each one tensor a layer, as one."""
    first, *others = ([layer.shape[1:] for layer in batch] for batch in batches)
    if any(shapes != first for shapes in others):
        raise OptionError("only features of the same backbone, dimensions and image size can be put together")
    layers, device = list(zip(*batches, strict=True)), batches[0][0].device
    return in_threads(lambda parts: torch.cat([part.to(device) for part in parts]), layers, device)
