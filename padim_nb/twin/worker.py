"""One rendering process: writes its share of a category's images and prints a line for each.

Started by `store`; a worker stops by itself when the process that started it is gone.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import CannotWrite
from ..util.files import writing_to
from ..util.mvtec_counts import plan
from .scene import render
from .store import jobs, part


def work(folder: Path, category: str, kind: str, size: int, seed: int, share: str) -> None:
    """Render every n-th image, counted from the k-th, where `share` is 'k/n'."""
    first, step = (int(number) for number in share.split("/"))
    rules = part(category)
    for split, defect, index in jobs(category, plan(category, kind))[first::step]:
        rendering = render(rules, split, defect, index, seed, size)
        image = rendering.image[..., 0] if rules.grey else rendering.image
        _save(folder / split / defect / f"{index:03d}.png", image)
        if defect != "good":
            _save(folder / "ground_truth" / defect / f"{index:03d}_mask.png", rendering.mask.astype(np.uint8) * 255)
        print(split, defect, index, flush=True)


def _save(path: Path, pixels: np.ndarray) -> None:
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, compress_level=4)


def _stop_with_parent() -> None:
    sys.stdin.read()  # ends when the parent does
    os._exit(3)


if __name__ == "__main__":
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        target, name, which, pixels, number, slice_ = sys.argv[1:]
        work(Path(target), name, which, int(pixels), int(number), slice_)
    except CannotWrite as error:
        sys.exit(f"CannotWrite: {error}")
