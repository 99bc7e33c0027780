"""Images and masks as arrays: decoded, resized and cropped exactly as a recipe says, by several threads."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

import numpy as np
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from pydantic import Field

from ..errors import DataError, OptionError
from ..util.validation import from_plain, validated
from .cache import cached
from .mvtec import Sample, expect_same_size, images_in, opened, orientation

Array = np.ndarray
LARGEST_SIDE = 1 << 14
Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
Resample = Literal["lanczos", "bicubic", "bilinear", "bilinear-aliased"]
RESAMPLE = get_args(Resample)
_warned: set[tuple[str, Path]] = set()
T = TypeVar("T")
R = TypeVar("R")


@validated
class Frame:
    """How an image is resized and cropped before a network sees it.

    Args:
        resize: the shorter side in pixels, which keeps the aspect; or (height, width), which does not.
        crop: side, or (height, width), of the middle that is cut out after resizing; None: all of it.
        resample: "bilinear-aliased" takes four neighbors whatever the scale, as OpenCV's INTER_LINEAR does; the others
            are Pillow's antialiased filters.
        mask_resample: "nearest", or "bilinear-floor": only pixels that stay fully marked count, as in padim-tensorflow.
    """

    resize: Side | tuple[Side, Side] = (256, 256)
    crop: Side | tuple[Side, Side] | None = None
    resample: Resample = "bilinear"
    mask_resample: Literal["nearest", "bilinear-floor"] = "nearest"

    def __post_init__(self) -> None:
        """Refuse a crop that no image is large enough for."""
        if (crop := self._crop_size) is not None:
            side = self.resize
            if min(crop) > side if isinstance(side, int) else (crop[0] > side[0] or crop[1] > side[1]):
                raise OptionError(f"cannot cut {_size_of(crop)} out of images resized to {side}")

    @property
    def _crop_size(self) -> tuple[int, int] | None:
        return (self.crop, self.crop) if isinstance(self.crop, int) else self.crop

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of an image after resizing, before the crop."""
        if not isinstance(self.resize, int):
            return self.resize
        short, long = sorted((height, width))
        longer = int(self.resize * long / short)
        return (self.resize, longer) if height <= width else (longer, self.resize)

    def apply(self, image: Array) -> Array:
        """uint8 (height, width, 3) -> the resized and cropped image."""
        height, width = self.resized(*image.shape[:2])
        if self.resample == "bilinear-aliased":
            return self._cropped(_four_neighbors(image, (height, width)))
        filter_ = Image.Resampling[self.resample.upper()]
        return self._cropped(np.asarray(Image.fromarray(image).resize((width, height), filter_)))

    def apply_mask(self, mask: Array) -> Array:
        """bool (height, width) -> the resized and cropped mask."""
        height, width = self.resized(*mask.shape)
        levels = mask.astype(np.uint8) * 255
        if self.mask_resample == "bilinear-floor":
            return self._cropped(_four_neighbors(levels[..., None], (height, width))[..., 0] == 255)
        nearest = Image.fromarray(levels).resize((width, height), Image.Resampling.NEAREST)
        return self._cropped(np.asarray(nearest) > 127)

    def _cropped(self, array: Array) -> Array:
        if (crop := self._crop_size) is None:
            return array
        height, width = crop
        if height > array.shape[0] or width > array.shape[1]:
            raise OptionError(f"cannot cut {height}x{width} out of an image resized to {_size_of(array.shape)}")
        top, left = round((array.shape[0] - height) / 2), round((array.shape[1] - width) / 2)
        return array[top : top + height, left : left + width]


def load_image(path: Path) -> Array:
    """Any image file as uint8 (height, width, 3).

    Gray is repeated, an alpha channel is dropped (not blended: parts are photographed, not composited), a camera's
    orientation tag is obeyed. Integers of more than 8 bits are scaled from 0..65535, floats from 0..1; a file with
    other values is refused, as its scale is not known.
    """
    image = _decode(path)
    if image.ndim == 3:
        return image
    low, high = float(image.min()), float(image.max())
    full = 65535 if image.dtype.kind in "iu" else 1
    if not (low >= 0 and high <= full):
        raise DataError(f"{path} holds values {low:g} to {high:g}, not 0 to {full}: rescale it, or save it with 8 bits")
    if full == 65535 and 0 < high < 1 << 12:
        factor = 1 << (16 - int(high).bit_length())
        _warn_once(
            "range",
            path,
            f"{path} holds values {low:g} to {high:g} of 0 to 65535, so that {int(high) // 257 + 1} "
            f"of 256 gray levels are left: multiply the values of such images by {factor}, or save them with 8 bits",
        )
    return np.repeat(np.rint(image * (255.0 / full)).astype(np.uint8)[..., None], 3, axis=2)


def load_mask(path: Path, empty: bool = True) -> Array:
    """A mask file as bool (height, width): whatever is not black is marked, in any channel and of any bit depth.

    Transparent pixels are not marked. In a JPEG file, whose compression blurs a mark's border, a value of half of white
    or more is marked, and a warning says so. Of a folder of masks it is what any of them marks.

    DataError where nothing is marked, unless it may be `empty`.
    """
    if path.is_dir():
        return np.any([load_mask(mask, empty) for mask in images_in(path)], axis=0)
    mask = _marked(path)
    if not (empty or mask.any()):
        raise DataError(f"{path} marks nothing: draw the defect, or move its image to test/good")
    return mask


def load_roi(path: Path, frame: Frame, samples: Sequence[Sample] = ()) -> Array:
    """A region of interest, a mask in the frame of the images, bool (height, width): only what is marked is judged.

    DataError where nothing is marked, or where it is not of the size of these samples' images.
    """
    for sample in samples:
        expect_same_size(path, sample.image)
    roi = frame.apply_mask(load_mask(path))
    if not roi.any():
        raise DataError(f"{path} leaves nothing of the images to be judged: paint white what is")
    return roi


def as_images(array: Array) -> Array:
    """Images in memory as writable uint8 (n, height, width, 3); floats are scaled from 0..1, the rest is refused."""
    array = np.asarray(array)
    if array.ndim != 4 or array.shape[-1] != 3:
        raise OptionError(f"images in memory must be an array (n, height, width, 3), not {array.shape}")
    if array.dtype.kind == "f" and array.size and array.min() >= 0 and array.max() <= 1:
        return np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        values = f" from {array.min():g} to {array.max():g}" if array.size else ""
        raise OptionError(f"images in memory must be uint8, or floats from 0 to 1, not {array.dtype}{values}")
    return np.require(array, requirements=["C", "W"])


def image_batches(samples: Sequence[Sample], frame: Frame, batch: int = 32, cache: bool = True) -> Iterator[Array]:
    """Batches of framed images, decoded ahead by threads and cached on disk unless `cache` is false.

    Returns:
        Arrays uint8 (n, height, width, 3), n = `batch` but for the last.
    """
    paths = [sample.image for sample in samples]
    images = ahead(lambda path: frame.apply(load_image(path)), paths)
    if cache and paths:
        images = cached(paths, frame, images)
    shape = None
    for start in range(0, len(paths), batch):
        group = list(islice(images, batch))
        for path, image in zip(paths[start:], group, strict=False):
            shape = shape or image.shape
            if image.shape != shape:
                raise DataError(
                    f"{path} is {_size_of(image.shape)} in this frame where others are {_size_of(shape)}: "
                    "choose a frame of fixed (height, width), or images of one aspect"
                )
        yield np.stack(group)


def masks(samples: Sequence[Sample], frame: Frame) -> Array:
    """The masks in the frame of the images, bool (n, height, width); nothing is marked on good ones."""
    framed = list(ahead(lambda sample: frame.apply_mask(_mask(sample)) if sample.label else None, samples))
    shape = next((mask.shape for mask in framed if mask is not None), None)
    if shape is None:
        shape = frame.apply(load_image(samples[0].image)).shape[:2]
    return np.stack([np.zeros(shape, dtype=bool) if mask is None else mask for mask in framed])


@validated
class Saturation:
    """From which area on a region counts as wholly detected: an entry of MVTec LOCO AD's defects_config.json.

    Args:
        defect_name: the kind of region.
        pixel_value: what marks it in a mask.
        saturation_threshold: pixels of the image, or the share of the region where `relative_saturation` is true.
    """

    defect_name: str
    pixel_value: Annotated[int, Field(ge=1)]
    saturation_threshold: Annotated[float, Field(gt=0)]
    relative_saturation: bool

    def share(self, area: int) -> float:
        """The saturation area as a share of a region of `area` pixels of the image: all of it at most."""
        return min(1.0, self.saturation_threshold / (1 if self.relative_saturation else area))


def annotated_regions(samples: Sequence[Sample], frame: Frame) -> Iterator[tuple[int, Array, float]]:
    """The regions of MVTec LOCO AD: each mask file is one, connected or not; they may overlap.

    Returns:
        For each region that reaches into the frame: the number of its sample, its mask in the frame, bool
        (height, width), and its saturation area in the frame's pixels. Nothing without a defects_config.json beside
        the folder of masks.
    """
    places = [(number, sample.mask) for number, sample in enumerate(samples) if sample.label and sample.mask]
    configs = {number: place.parent.parent.parent / "defects_config.json" for number, place in places}
    kinds = {config: _kinds(config) for config in set(configs.values()) if config.is_file()}
    files = [(n, path) for n, place in places if configs[n] in kinds for path in images_in(place) or [place]]

    def region(item: tuple[int, Path]) -> tuple[int, Array, float]:
        number, path = item
        levels, config = _decode(path), configs[number]
        levels = levels.max(axis=2) if levels.ndim == 3 else levels
        values, areas = np.unique(levels[levels != 0], return_counts=True)
        if values.size != 1 or values[0] not in kinds[config]:
            known = ", ".join(map(str, kinds[config]))
            raise DataError(
                f"{path} holds the pixel values {values.tolist()}: give it one that {config} lists ({known})"
            )
        mask = frame.apply_mask(levels != 0)
        return number, mask, kinds[config][values[0]].share(int(areas[0])) * int(mask.sum())

    return ((number, mask, area) for number, mask, area in ahead(region, files) if area)


def share_cut_off(samples: Sequence[Sample], frame: Frame) -> float:
    """The share of all marked pixels, after resizing, that the frame's crop leaves outside."""
    if frame.crop is None:
        return 0.0
    whole = replace(frame, crop=None)

    def areas(sample: Sample) -> tuple[int, int]:
        mask = _mask(sample)
        return int(frame.apply_mask(mask).sum()), int(whole.apply_mask(mask).sum())

    defective = [sample for sample in samples if sample.label]
    inside, marked = np.array([(0, 0), *ahead(areas, defective)]).sum(axis=0)
    return float(marked - inside) / max(1, int(marked))


def ahead(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`map` in threads, in order, a bounded number of items ahead (Pillow frees the interpreter while it decodes)."""
    workers = min(16, (os.cpu_count() or 1) + 1)
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _mask(sample: Sample) -> Array:
    if sample.mask is None:
        raise DataError(f"{sample.image} is defective but has no mask: pixels cannot be judged")
    return load_mask(sample.mask, empty=False)


def _kinds(config: Path) -> dict[int, Saturation]:
    """The entries of a defects_config.json by pixel value."""
    try:
        entries = from_plain(list[Saturation], json.loads(config.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, OptionError) as error:
        raise DataError(f"{config} is not readable ({error}): take it from the data set's archive again") from error
    return {entry.pixel_value: entry for entry in entries}


def _decode(path: Path) -> Array:
    """uint8 (height, width, 3), or (height, width) with the file's own numbers where they are not 8-bit integers."""
    with opened(path) as file:
        image = _upright(file)
        return np.asarray(image if _is_deep(image) else image.convert("RGB"))


def _marked(path: Path) -> Array:
    """What a mask file marks, bool (height, width)."""
    with opened(path) as file:
        jpeg, image = file.format == "JPEG", _upright(file)
        if _is_deep(image):
            return np.asarray(image) != 0
        pixels = np.asarray(image.convert("RGBA"))
    if jpeg:
        _warn_once(
            "JPEG", path, f"{path} is a JPEG file: what is at least half white in such masks is marked; save PNG"
        )
        return pixels[..., :3].max(axis=2) > 127
    with opened(path) as file:
        if _take_low_bytes(file):  # 16 bits a channel, of which Pillow takes the upper 8
            pixels = pixels | np.asarray(_upright(file).convert("RGBA"))
    return pixels[..., :3].any(axis=2) & (pixels[..., 3] > 0)


def _take_low_bytes(file: ImageFile) -> bool:
    """Whether a file has 16 bits a color channel; what is then read of it are the lower 8."""
    other = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
    tiles = []
    for tile in file.tile:
        raw, *further = [tile.args] if isinstance(tile.args, str) else tile.args or [""]
        mode, _, order = str(raw).partition(";")
        if mode not in ("RGB", "RGBA", "RGBX") or order not in other:
            return False
        swapped = f"{mode};{other[order]}"
        tiles.append(tile._replace(args=(swapped, *further) if further else swapped))
    file.tile = tiles
    return bool(tiles)


def _upright(file: ImageFile) -> Image.Image:
    return file if orientation(file) == 1 else ImageOps.exif_transpose(file)


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _warn_once(kind: str, path: Path, text: str) -> None:
    """Warn of one file of a folder, not of each."""
    if (kind, path.parent) not in _warned:
        _warned.add((kind, path.parent))
        warnings.warn(text, stacklevel=3)


def _four_neighbors(image: Array, size: tuple[int, int]) -> Array:
    """OpenCV's INTER_LINEAR for uint8, in its fixed-point arithmetic: equal when shrinking, within 1 when enlarging."""
    top, bottom, wy = _neighbors(image.shape[0], size[0])
    left, right, wx = _neighbors(image.shape[1], size[1])
    source = image.astype(np.int32)
    rows = source[:, left] * (2048 - wx)[None, :, None] + source[:, right] * wx[None, :, None]
    upper = ((2048 - wy)[:, None, None] * (rows[top] >> 4)) >> 16
    lower = (wy[:, None, None] * (rows[bottom] >> 4)) >> 16
    return np.clip((upper + lower + 2) >> 2, 0, 255).astype(np.uint8)


def _neighbors(source: int, target: int) -> tuple[Array, Array, Array]:
    position = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    first = np.floor(position).astype(np.int64)
    share = np.where((first < 0) | (first >= source - 1), np.float32(0), position - first.astype(np.float32))
    weight = np.rint(share * np.float32(2048)).astype(np.int32)
    return np.clip(first, 0, source - 1), np.clip(first + 1, 0, source - 1), weight


def _size_of(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]}"
