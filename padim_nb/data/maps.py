"""Anomaly maps and image scores: what every detector returns, `evaluate` judges and a run saves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..errors import DataError, ModelError, OptionError
from ..util.files import whole_file
from .images import Frame

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class AnomalyMaps:
    """The anomaly maps of n images, and one score for each image.

    `np.asarray(maps)` is the array of the maps; a slice, a list of numbers or a mask selects images with their scores.

    Args:
        maps: float32 (n, height, width), the larger, the more anomalous.
        scores: (n,), one for each image.
        frame: how the images were resized and cropped; None where a map covers the whole image.
        roi: the region of interest, bool (height, width), outside of which maps are 0 and nothing is judged; None for
            all of the image.
        counts: how often each image counts where the maps are judged, (n,); None for once.
    """

    maps: Array
    scores: Array
    frame: Frame | None = None
    roi: Array | None = None
    counts: Array | None = None

    @classmethod
    def of(
        cls, maps: Array, frame: Frame | None = None, scores: Array | None = None, roi: Array | None = None
    ) -> AnomalyMaps:
        """Anomaly maps from an array (n, height, width); without `scores` they are the largest value of each map."""
        maps = np.asarray(maps, dtype=np.float32)
        return cls(maps, maps.max(axis=(1, 2)) if scores is None else np.asarray(scores), frame, roi)

    @classmethod
    def joined(
        cls,
        batches: Iterable[AnomalyMaps],
        size: tuple[int, int],
        frame: Frame,
        images: int | None = None,
        roi: Array | None = None,
    ) -> AnomalyMaps:
        """Join batches of anomaly maps; without batches, 0 maps of this (height, width).

        Where the number of `images` is given, each batch is let go of before the next is made.
        """
        if images is None:
            batches = list(batches)
            images = sum(map(len, batches))
        maps, scores, start = np.empty((images, *size), np.float32), [np.zeros(0, np.float32)], 0
        for batch in batches:
            maps[start : start + len(batch)] = batch.maps
            scores.append(batch.scores)
            start += len(batch)
        return cls(maps, np.concatenate(scores), frame, roi)

    def judged(self, values: Array) -> Array:
        """Of one value a pixel (n, height, width) those inside the region of interest, (n, pixels)."""
        return values.reshape(len(values), -1) if self.roi is None else values[:, self.roi]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, height, width)."""
        return self.maps.shape

    def __len__(self) -> int:
        return len(self.maps)

    @overload
    def __getitem__(self, images: int | np.integer) -> Array: ...
    @overload
    def __getitem__(self, images: slice | Sequence[int] | Array) -> AnomalyMaps: ...
    def __getitem__(self, images: int | np.integer | slice | Sequence[int] | Array) -> Array | AnomalyMaps:
        if isinstance(images, (int, np.integer)):
            return self.maps[images]
        counts = None if self.counts is None else self.counts[images]
        return AnomalyMaps(self.maps[images], self.scores[images], self.frame, self.roi, counts)

    def resized(self, height: int, width: int) -> AnomalyMaps:
        """The maps in another size, such as that of the images' files, with the scores that they have.

        Up-sampled bilinearly. Of images that are cropped there is no map of all of it: refused.
        """
        if self.frame is not None and self.frame.crop is not None:
            raise OptionError("these maps leave out what the crop cut off: take a recipe without a crop")
        if self.roi is not None:
            raise OptionError("these maps have a region of interest: their size stays")
        maps = np.empty((len(self), height, width), np.float32)
        for number, map_ in enumerate(self.maps):
            maps[number] = np.asarray(Image.fromarray(map_).resize((width, height), Image.Resampling.BILINEAR))
        return replace(self, maps=maps, frame=Frame((height, width)))

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> Array:
        return np.array(self.maps, dtype=dtype) if copy else np.asarray(self.maps, dtype=dtype)

    def expect_finite(self) -> AnomalyMaps:
        """The maps themselves; `ModelError` where a value is not a finite number."""
        if not (np.isfinite(self.maps).all() and np.isfinite(self.scores).all()):
            raise ModelError("the maps are not finite: the detector is damaged, fit it again and save it")
        return self

    def save(self, path: str | Path) -> Path:
        """Write maps and scores to a safetensors file, whole or not at all, and return its path."""
        arrays = {"maps": self.maps, "scores": self.scores} | ({} if self.roi is None else {"roi": self.roi})
        with whole_file(Path(path)) as scratch:
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, scratch)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, frame: Frame | None = None) -> AnomalyMaps:
        """Read maps and scores that `save` wrote."""
        try:
            tensors = load_file(path)
            maps, scores, roi = tensors["maps"], tensors["scores"], tensors.get("roi")
            if maps.ndim != 3 or scores.shape != maps.shape[:1] or (roi is not None and roi.shape != maps.shape[1:]):
                raise ValueError(f"maps {maps.shape}, scores {scores.shape}, or a region of interest of another size")
            return cls.of(maps, frame, scores, roi)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
            raise DataError(f"{path} holds no anomaly maps ({reason}): run it again") from error
