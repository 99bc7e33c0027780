"""What a PaDiM detector sums up of its training images: moments, or the very features while images are few."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelError, OptionError
from ..util.threads import in_threads
from .gaussian import PatchGaussians
from .grids import Grid, grids_of
from .low_rank import LowRankGaussians, is_cheaper
from .moments import Moments
from .shrinkage import oas

Gaussians = PatchGaussians | LowRankGaussians
Eps = float | Literal["oas"]


@dataclass
class Statistics:
    """Features as long as the low-rank form of the Gaussians is the cheaper one, moments from then on.

    `form` is that of the settings; with "auto" the choice is made here.
    """

    form: str = "auto"
    moments: Moments | None = None
    features: list[Tensor] | None = None

    @property
    def count(self) -> int:
        """The number of images."""
        if self.moments is not None:
            return self.moments.count
        return len(self.features[0]) if self.features else 0

    def add(self, features: list[Tensor], expected: int) -> None:
        """Add a batch of features [(n, channels, height, width)], coarse to fine, of `expected` images in the end."""
        low_rank = self.form == "low-rank" or (self.form == "auto" and is_cheaper(features, expected))
        if self.moments is None and low_rank:
            self.features = concatenated([self.features, features]) if self.features else features
        else:
            self._sum_up(features)

    def merge(self, other: Statistics, device: str = "cpu") -> None:
        """Add the statistics of other images, moved to `device` where this is empty; `other` is not changed."""
        if other.features is not None:
            self.add([layer.to(device) for layer in other.features], self.count + other.count)
        elif other.moments is not None:
            self._sum_up()
            self.moments = self.moments.merge(other.moments) if self.moments else other.moments.copy(device)

    def eps(self, setting: Eps) -> float:
        """What is added to the variances of these images, in numbers."""
        if setting != "oas":
            return setting
        return oas(self._summed())

    def gaussians(self, eps: float) -> Gaussians:
        """One Gaussian a patch, in the form that was chosen."""
        summed = self._summed()
        return PatchGaussians.fit(summed, eps) if isinstance(summed, Moments) else LowRankGaussians.fit(summed, eps)

    def _summed(self) -> Moments | list[Tensor]:
        summed = self.features if self.features is not None else self.moments
        if summed is None:
            raise ModelError("there are no images: fit the detector to at least 2")
        return summed

    def _sum_up(self, features: list[Tensor] | None = None) -> None:
        """Replace kept features by their moments, and add a batch to these."""
        for batch in (self.features, features):
            if batch is not None:
                self.moments = self.moments.add(batch) if self.moments else Moments.from_features(batch)
        self.features = None


def held_out(
    features: Sequence[Tensor], groups: Sequence[np.ndarray], form: str, eps: Eps, device: str
) -> Iterator[tuple[list[Tensor], Gaussians]]:
    """Each group's own features, and the Gaussians of all other groups.

    Args:
        features: of all images, one tensor a layer (n, channels, height, width), coarse to fine.
        groups: the images' numbers in each group.
        form: of the Gaussians, as in the settings.
        eps: added to the variances, as in the settings.
        device: where to compute.
    """

    def part(group: np.ndarray) -> list[Tensor]:
        chosen = torch.from_numpy(group)
        return [layer[chosen].to(device) for layer in features]

    for own in groups:
        others = Statistics(form)
        for group in groups:
            if group is not own:
                others.add(part(group), len(features[0]))
        yield part(own), others.gaussians(others.eps(eps))


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
