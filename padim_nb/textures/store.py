"""Procedural images, rendered once by several threads and saved as one array in the cache."""

from __future__ import annotations

import hashlib
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..errors import CannotWrite, OptionError
from ..util.files import cache_root, whole_file
from ..util.machine import cores
from .programs import programs


@cache
def version() -> str:
    """Twelve hex digits that change with the source of the generators."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name not in ("__init__.py", "store.py"):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def procedural_images(count: int, side: int, seed: int = 0) -> np.ndarray:
    """One image of each of the first `count` programs.

    Args:
        count: number of images, 1 or more; the first images do not depend on it.
        side: height and width in pixels, 16 or more.
        seed: of the programs.

    Returns:
        uint8 (count, side, side, 3), memory-mapped from the cache; in memory where the cache cannot be written.
    """
    if count < 1 or side < 16:
        raise OptionError(f"cannot render {count} procedural images of {side} px: give 1 or more, of 16 px or more")
    path = cache_root() / "procedural" / f"{version()}-{seed}-{count}x{side}.npy"
    shape = (count, side, side, 3)
    if not path.is_file():
        try:
            with whole_file(path) as scratch:
                array = np.lib.format.open_memmap(scratch, mode="w+", dtype=np.uint8, shape=shape)
                _render(array, seed)
                array.flush()
                del array
        except CannotWrite as error:
            warnings.warn(f"{error}; the procedural images are rendered again each time", stacklevel=2)
            return _render(np.empty(shape, np.uint8), seed)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _render(array: np.ndarray, seed: int) -> np.ndarray:
    # Threads, not processes: a process pool would import the caller's script again.
    def render(index: int) -> None:
        array[index] = chosen[index].render(0, array.shape[1])

    chosen = programs(len(array), seed)
    with ThreadPoolExecutor(cores()) as pool:
        done = pool.map(render, range(len(array)))
        try:
            for _ in tqdm(done, "procedural images", len(array), unit="image", disable=None, leave=False):
                pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return array
