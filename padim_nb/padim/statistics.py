"""What a PaDiM detector keeps of its training images, and the Gaussians made of it.

It keeps raw features up to `KEPT_IMAGES` images, or for longer while the low-rank (Woodbury) form is the cheaper one;
beyond that they become running moments, once, and stay so. Gaussians are low-rank where features are kept and that form
is cheaper (or asked for), multi-resolution (or dense) otherwise: features are then summed up into moments first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..data.mvtec import Sample
from ..errors import ModelError, OptionError
from ..util.threads import in_threads
from .gaussian import PatchGaussians
from .grids import Grid, grids_of
from .low_rank import LowRankGaussians, is_cheaper
from .moments import Moments
from .shrinkage import Eps, oas

Gaussians = PatchGaussians | LowRankGaussians
TRAINING = "training."  # tensors of a model file beside the Gaussians'
KEPT_IMAGES = 100  # images, up to which their features are kept and saved: exact p-values need them


@dataclass
class Statistics:
    """Raw features, or running moments, of all training images, and which images they were.

    >>> statistics = Statistics()
    >>> batch = [torch.rand(4, 3, 2, 2), torch.rand(4, 2, 4, 4)]  # layers, coarse to fine
    >>> statistics.add(batch, np.arange(4), np.zeros(4, np.int64), expected=4)
    >>> statistics.gaussians(eps=0.01).distances(batch).shape
    torch.Size([4, 4, 4])

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

    def places_of(self, images: np.ndarray) -> np.ndarray:
        """The place of each image, by its fingerprint, among the training images; -1 for others."""
        places = {image: place for place, image in enumerate(self.images.tolist())}
        return np.array([places.get(image, -1) for image in images.tolist()], dtype=np.int64)

    def expect_whole_groups(self, places: np.ndarray) -> None:
        """ModelError unless, of each group that has an image at one of these places, all images have."""
        groups = self.groups[places]
        for group in np.unique(groups[groups != 0]):
            count, there = int((self.groups == group).sum()), len(np.unique(places[groups == group]))
            if there < count:
                raise ModelError(
                    f"a group of {count} images is left out as a whole, {there} of them are given: give all"
                )

    def tensors(self) -> dict[str, Tensor]:
        """What a model file holds of the training images, by name: fingerprints, and features of few."""
        tensors = {TRAINING + name: torch.from_numpy(getattr(self, name)) for name in ("images", "groups")}
        if self.features is not None and self.count <= KEPT_IMAGES:
            tensors |= {f"{TRAINING}features.{k}": layer for k, layer in enumerate(self.features)}
        return tensors

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], form: str, device: str) -> Statistics:
        """The same back, taken out of a file's tensors; KeyError or ValueError where they do not fit."""
        own = {name: tensors.pop(name) for name in list(tensors) if name.startswith(TRAINING)}
        images, groups = (own.pop(TRAINING + name).numpy() for name in ("images", "groups"))
        if images.dtype != np.int64 or images.shape != groups.shape or images.ndim != 1:
            raise ValueError(f"fingerprints of {images.shape} images in {groups.shape} groups")
        features = [own[name].to(device) for name in sorted(own)]
        if any(len(layer) != len(images) for layer in features):
            raise ValueError(f"features of {[len(layer) for layer in features]} images, fingerprints of {len(images)}")
        return cls(form, None, features or None, images, groups)

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


def group_fingerprints(samples: Sequence[Sample]) -> np.ndarray:
    """The same of the names of the samples' groups, 0 for an image on its own."""
    return np.array([_bits(sample.group.encode()) if sample.group else 0 for sample in samples], dtype=np.int64)


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
