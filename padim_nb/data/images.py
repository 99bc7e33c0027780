"""Pictures and masks as arrays: decoded, resized and cropped exactly as a recipe says, in parallel."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from PIL import Image, ImageOps

from ..errors import DataError, OptionError
from .cache import cached

_PIL = {"lanczos": Image.LANCZOS, "bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR}
RESAMPLE = (*_PIL, "bilinear-aliased")
MASK_RESAMPLE = ("nearest", "bilinear-floor")
LARGEST_SIDE = 1 << 14
T, R = TypeVar("T"), TypeVar("R")


class Labelled(Protocol):
    """What this room needs to know of a sample."""

    image: Path
    label: int
    mask: Path | None


@dataclass(frozen=True)
class Frame:
    """Which part of an image is looked at, and how it gets there.

    `resize`: a number is the shorter side and keeps the aspect; (height, width) squashes to exactly that. `crop` then
    cuts out the middle. `resample` "bilinear-aliased" takes four neighbours whatever the scale, as OpenCV's
    INTER_LINEAR does; the others are Pillow's antialiased filters. Masks go "nearest", or "bilinear-floor": only
    pixels that stay fully marked count, as in padim-tensorflow.
    """

    resize: int | tuple[int, int] = (256, 256)
    crop: int | tuple[int, int] | None = None
    resample: str = "bilinear"
    mask_resample: str = "nearest"

    def __post_init__(self) -> None:
        if self.resample not in RESAMPLE or self.mask_resample not in MASK_RESAMPLE:
            raise OptionError(
                f"no such resampling: {self.resample!r}, {self.mask_resample!r} (known: {RESAMPLE}, {MASK_RESAMPLE})"
            )
        for size in (self.resize, self.crop or 1):
            sides = size if isinstance(size, tuple) else (size,)
            if len(sides) > 2 or not all(isinstance(side, int) and 0 < side <= LARGEST_SIDE for side in sides):
                raise OptionError(f"a frame is 1 to {LARGEST_SIDE} pixels a side, not {size!r}")

    @classmethod
    def of(cls, kept: Mapping[str, object]) -> Frame:
        """The frame that a model file's header holds: its pairs have become lists."""
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()})

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of an image after resizing, before the crop."""
        if not isinstance(self.resize, int):
            return self.resize
        short, long = sorted((height, width))
        grown = int(self.resize * long / short)
        return (self.resize, grown) if height <= width else (grown, self.resize)

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """uint8 (height, width, 3) -> the framed picture."""
        size = self.resized(*picture.shape[:2])
        if self.resample == "bilinear-aliased":
            return self._crop(_four_neighbours(picture, size))
        small = Image.fromarray(picture).resize(size[::-1], _PIL[self.resample])
        return self._crop(np.asarray(small))

    def apply_mask(self, mask: np.ndarray) -> np.ndarray:
        """bool (height, width) -> the framed mask."""
        size = self.resized(*mask.shape)
        levels = mask.astype(np.uint8) * 255
        if self.mask_resample == "nearest":
            return self._crop(np.asarray(Image.fromarray(levels).resize(size[::-1], Image.NEAREST)) > 127)
        return self._crop(_four_neighbours(levels[..., None], size)[..., 0] == 255)

    def _crop(self, array: np.ndarray) -> np.ndarray:
        if self.crop is None:
            return array
        height, width = (self.crop, self.crop) if isinstance(self.crop, int) else self.crop
        if height > array.shape[0] or width > array.shape[1]:
            raise OptionError(
                f"cannot cut {height}x{width} out of an image resized to {array.shape[0]}x{array.shape[1]}"
            )
        top, left = round((array.shape[0] - height) / 2), round((array.shape[1] - width) / 2)
        return array[top : top + height, left : left + width]


def load_image(path: Path) -> np.ndarray:
    """Any image file as uint8 (height, width, 3).

    Grey is repeated, an alpha channel is dropped (not blended: parts are photographed, not composited), 16 bits are
    scaled by their full range, and a camera's orientation tag is obeyed.
    """
    return _decode(path, "RGB")


def load_mask(path: Path) -> np.ndarray:
    """A mask file as bool (height, width): whatever is not black is marked."""
    return _decode(path, "L") > 0


def image_batches(
    samples: Sequence[Labelled], frame: Frame, batch: int = 32, cache: bool = True
) -> Iterator[np.ndarray]:
    """Batches of framed pictures, uint8 (b, h, w, 3), decoded ahead by threads; kept on disk unless told otherwise."""
    paths = [sample.image for sample in samples]

    def framed_picture(path: Path) -> np.ndarray:
        return frame.apply(load_image(path))

    framed = cached(paths, frame, framed_picture, ahead) if cache and paths else ahead(framed_picture, paths)
    group: list[np.ndarray] = []
    shape = None
    for path, picture in zip(paths, framed, strict=True):
        shape = shape or picture.shape
        if picture.shape != shape:
            raise DataError(
                f"{path} is {_size_of(picture.shape)} in this frame where others are {_size_of(shape)}: "
                "choose a frame of fixed (height, width), or images of one aspect"
            )
        group.append(picture)
        if len(group) == batch:
            yield np.stack(group)
            group = []
    if group:
        yield np.stack(group)


def masks(samples: Sequence[Labelled], frame: Frame) -> np.ndarray:
    """The truth in the frame of the pictures, bool (n, h, w); nothing is marked on good ones."""
    found = list(ahead(lambda s: _framed_mask(s, frame), samples))
    shape = next((m.shape for m in found if m is not None), None)
    if shape is None:
        shape = frame.apply(load_image(samples[0].image)).shape[:2]
    return np.stack([np.zeros(shape, dtype=bool) if m is None else m for m in found])


def ahead(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`map` in threads, in order, a bounded number of items ahead (Pillow frees the interpreter while it decodes)."""
    workers = min(8, (os.cpu_count() or 1) + 1)
    waiting: deque = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _framed_mask(sample: Labelled, frame: Frame) -> np.ndarray | None:
    if not sample.label:
        return None
    if sample.mask is None:
        raise DataError(f"{sample.image} is defective but has no mask: pixels cannot be judged")
    mask = load_mask(sample.mask)
    if not mask.any():
        raise DataError(f"{sample.mask} marks nothing: draw the defect, or move its image to test/good")
    return frame.apply_mask(mask)


def _decode(path: Path, mode: str) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            picture.load()
            picture = ImageOps.exif_transpose(picture)
            if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
                deep = np.asarray(picture).astype(np.float64)
                picture = Image.fromarray(np.clip(np.rint(deep / 257.0), 0, 255).astype(np.uint8))
            return np.asarray(picture.convert("RGB").convert(mode) if mode == "L" else picture.convert(mode))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(" '")[0]
        raise DataError(f"{path} is not a readable image ({reason}): replace or remove it") from error


def _four_neighbours(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """OpenCV's INTER_LINEAR for uint8, in its fixed-point arithmetic: equal when shrinking, within 1 when enlarging."""
    (top, bottom, wy), (left, right, wx) = _taps(picture.shape[0], size[0]), _taps(picture.shape[1], size[1])
    source = picture.astype(np.int32)
    rows = source[:, left] * (2048 - wx)[None, :, None] + source[:, right] * wx[None, :, None]
    upper = ((2048 - wy)[:, None, None] * (rows[top] >> 4)) >> 16
    lower = (wy[:, None, None] * (rows[bottom] >> 4)) >> 16
    return np.clip((upper + lower + 2) >> 2, 0, 255).astype(np.uint8)


def _taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    position = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    first = np.floor(position).astype(np.int64)
    share = np.where((first < 0) | (first >= source - 1), np.float32(0), position - first.astype(np.float32))
    weight = np.rint(share * np.float32(2048)).astype(np.int32)
    return np.clip(first, 0, source - 1), np.clip(first + 1, 0, source - 1), weight


def _size_of(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]}"
