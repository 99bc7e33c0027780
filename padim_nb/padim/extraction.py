"""Pictures -> the chosen features of their patches, as one PaDiM detector reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..data.images import image_batches
from ..data.mvtec import Sample
from ..errors import DataError, ModelError
from ..features.backbones import Backbone
from ..features.dimensions import Embedding, joined
from .quirks import scrambled, with_root_of_deviation
from .settings import PaDiMSettings


@dataclass
class Extractor:
    """A backbone, and the dimensions chosen of its taps. The first picture decides the `size` of all."""

    settings: PaDiMSettings
    backbone: Backbone
    device: str
    size: tuple[int, int] | None = None
    embedding: Embedding = field(init=False)

    def __post_init__(self) -> None:
        self.embedding = self.settings.selection.of(self.backbone.channels)
        if "input over root of deviation" in self.settings.quirks:
            with_root_of_deviation(self.backbone)
        self.backbone.to(self.device)

    def batches(self, samples: Sequence[Sample], what: str) -> Iterator[list[Tensor]]:
        """The features of all samples, batch by batch, under a progress bar that says `what` is done."""
        batch = self.settings.batch
        with tqdm(total=len(samples), desc=what, unit="picture", disable=None, leave=False) as bar:
            for number, framed in enumerate(image_batches(samples, self.settings.frame, batch)):
                levels = self.of(framed)
                if not all(torch.isfinite(level).all() for level in levels):
                    first = samples[number * batch].image
                    raise DataError(
                        f"the network's features of the batch from {first} on are not finite: check images and weights"
                    )
                yield levels
                bar.update(len(framed))

    def of(self, framed: np.ndarray) -> list[Tensor]:
        """Framed pictures, uint8 (b, height, width, 3) -> features [(b, c, h, w)], coarse to fine."""
        size = framed.shape[1:3]
        if self.size not in (None, size):
            raise ModelError(
                f"this detector was fitted on pictures of {self.size[0]}x{self.size[1]}, not {size[0]}x{size[1]}"
            )
        self.size = size
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(framed)).to(self.device)
            taps = self.backbone(self.backbone.normalise(batch).contiguous(memory_format=torch.channels_last))
            if "coarse maps scrambled" in self.settings.quirks:
                return [scrambled(taps, self.embedding.chosen)]
            levels = self.embedding.levels(taps)
            return [joined(levels)] if self.settings.form == "dense" else levels
