"""Penalty images: images of anything but the parts, on which EfficientAD's student must not imitate its teacher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data.images import Frame, image_batches
from ..data.mvtec import Sample, images_in
from ..errors import DataError
from ..features.weights import published_path
from ..textures import procedural_images, version
from .settings import IMAGENETTE, NONE, PROCEDURAL


def penalties(source: str, height: int, width: int, count: int, seed: int) -> tuple[Tensor | None, str]:
    """Penalty images of a source.

    Args:
        source: "procedural", "none", "imagenette" (anomalib's, got by `padim-nb weights get imagenette`), or a folder:
            `count` images below it, drawn by `seed`, are resized to twice the size, and the middle is cut out.
        height: of the images in pixels.
        width: of the images in pixels.
        count: number of images, at most.
        seed: of the draw.

    Returns:
        The images, uint8 (n, height, width, 3), None where there are none, and their name for the record.
    """
    if source == NONE:
        return None, NONE
    if source == PROCEDURAL:
        images = procedural_images(count, max(height, width), seed + 2)[:, :height, :width]
        return torch.from_numpy(np.array(images)), f"procedural images {version()}, {count} programs"
    source = folder_of(source)
    paths = images_below(source, "penalty")
    order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(seed))[:count]
    samples = [Sample(paths[i], 0, "penalty") for i in sorted(order.tolist())]
    frame = Frame((2 * height, 2 * width), (height, width))
    batches = image_batches(samples, frame, 32, cache=False)
    name = f"{len(samples)} of {len(paths)} images in {Path(source).name}"
    return torch.from_numpy(np.concatenate(list(batches))), name


def folder_of(source: str) -> str:
    """The folder of penalty images of a source that has one; WeightsError where published ones are not here."""
    return str(published_path(IMAGENETTE)) if source == IMAGENETTE else source


def images_below(folder: str, purpose: str) -> list[Path]:
    """All image files in a folder and the folders below it, sorted; `DataError` where there are none."""
    root, other = Path(folder), f"give a folder of images, '{IMAGENETTE}', '{PROCEDURAL}' or '{NONE}'"
    if not folder or not root.is_dir():
        raise DataError(f"no {purpose} folder {folder or 'was given'}: {other}")
    paths = sorted(path for place in (root, *root.rglob("*")) if place.is_dir() for path in images_in(place))
    if not paths:
        raise DataError(f"no images in the {purpose} folder {folder}: {other}")
    return paths
