"""Pictures of anything but the parts: what EfficientAD's student must not learn to describe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data.images import Frame, image_batches
from ..data.mvtec import Sample, images_in
from ..errors import DataError, OptionError
from ..textures import procedural_images, version

BANK, NONE = "bank", "none"


def penalties(source: str, height: int, width: int, count: int, seed: int) -> tuple[Tensor | None, str]:
    """(pictures, uint8 (n, height, width, 3), what they are): of the procedural bank, of a folder's tree, or none.

    Of a folder, `count` images drawn by `seed` are squashed to twice the size, and the middle is cut out.
    """
    if source == NONE:
        return None, "none"
    if count < 1:
        raise OptionError(f"the number of penalty pictures must be 1 or more, not {count}")
    if source == BANK:
        side = max(height, width)
        kept = np.array(procedural_images(count, 1, side, seed + 2)[:, 0, :height, :width])
        return torch.from_numpy(kept), f"procedural bank {version()}, {count} programs"
    folder = Path(source)
    if not folder.is_dir():
        raise DataError(f"no penalty folder {source}: give a folder of images, '{BANK}' or '{NONE}'")
    found = sorted({path for each in [folder, *folder.rglob("*")] if each.is_dir() for path in images_in(each)})
    if not found:
        raise DataError(f"no images in the penalty folder {source}: give a folder of images, '{BANK}' or '{NONE}'")
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))[:count]
    samples = [Sample(found[i], 0, "penalty") for i in sorted(order.tolist())]
    frame = Frame((2 * height, 2 * width), (height, width))
    batches = image_batches(samples, frame, 32, cache=False)
    return torch.from_numpy(np.concatenate(list(batches))), f"{len(samples)} of {len(found)} images in {folder.name}"
