"""The memory that a PaDiM fit will take, known before an image is read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..features.backbones import SPECS, Backbone
from .detector import IN_MEMORY, PaDiM
from .low_rank import is_cheaper
from .settings import PaDiMSettings
from .statistics import KEPT_IMAGES

# As measured by benchmarks/size.py:
BESIDE = 1 << 30  # bytes of Python, torch and the libraries
WORK = 400  # bytes of the network for each pixel of an image


@dataclass(frozen=True)
class Memory:
    """Bytes that a fit takes.

    Args:
        model: of the Gaussians.
        sums: of what is summed up of the images: moments, or the images' features in the low-rank form.
        features: of the images that the threshold is set from, which are held while it is.
        work: of the network on one image.
        images: how many there are.
    """

    model: int
    sums: int
    features: int
    work: int
    images: int

    @property
    def peak(self) -> int:
        """The most that is held at once: when the threshold is set, by Gaussians in float64 beside the model's."""
        return BESIDE + self.work + self.features + self.sums + 3 * self.model

    def __str__(self) -> str:
        model, sums, peak = map(in_words, (self.model, self.sums, self.peak))
        return f"about {model} for the model and {sums} for sums of {self.images} images, at most {peak} at once"


def memory_of(settings: PaDiMSettings, size: tuple[int, int], images: int) -> Memory:
    """The memory that `fit(samples, false_alarm)` takes.

    Moments are taken for float64, though those of small features are float32 where float64 would be too large.

    Args:
        settings: of the detector.
        size: (height, width) of the framed images.
        images: number of training images.
    """
    features = layers(settings, size)
    low_rank = settings.form == "low-rank" or (settings.form == "auto" and is_cheaper(features, images))
    model = sums = before = 0  # numbers of the Gaussians and of the moments
    for number, layer in enumerate(features):
        c, p = layer.shape[1], layer[0, 0].numel()
        sums += p * c * (1 + c + before)
        ends = (number > 0) + (number < len(features) - 1)
        model += p * c * (1 + c + (images * ends if low_rank else before))
        before += c
    per_image = sum(layer.nbytes for layer in features)
    summed = images * per_image if low_rank or images <= KEPT_IMAGES else 8 * sums
    held = min(images, IN_MEMORY) * per_image
    return Memory(4 * model, summed, held, WORK * size[0] * size[1], images)


def layers(settings: PaDiMSettings, size: tuple[int, int]) -> list[Tensor]:
    """The features of one image without their numbers, on torch's meta device: (1, channels, height, width) each."""
    with torch.device("meta"), torch.inference_mode():
        network = Backbone(settings.backbone, SPECS[settings.backbone].build(), {})
        return PaDiM(settings, network, "meta").extract(np.zeros((1, *size, 3), dtype=np.uint8))


def in_words(bytes_: float) -> str:
    """Such as "1.3 GiB" or "87 MiB"."""
    return f"{bytes_ / 2**30:.2g} GiB" if bytes_ >= 1 << 30 else f"{bytes_ / 2**20:.0f} MiB"
