"""The bank's pictures, rendered once by several processes and kept as one array on disk."""

from __future__ import annotations

import hashlib
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..errors import OptionError
from ..util.files import cache_root, whole_file
from ..util.machine import cores
from .programs import Program, programs

_CHUNK = 32


@cache
def version() -> str:
    """Names the generators: a hash of their sources."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name not in ("__init__.py", "store.py"):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def procedural_images(count: int, renders: int, side: int, seed: int = 0, workers: int | None = None) -> np.ndarray:
    """Pictures of the first `count` programs, uint8 (count, renders, side, side, 3), memory-mapped from the cache."""
    if count < 1 or renders < 1 or side < 16:
        raise OptionError(f"a bank of {count} programs x {renders} pictures of {side} px cannot be made")
    path = cache_root() / "bank" / f"{version()}-{seed}-{count}x{renders}x{side}.npy"
    if not path.is_file():
        with whole_file(path) as scratch:
            shape = (count, renders, side, side, 3)
            array = np.lib.format.open_memmap(scratch, mode="w+", dtype=np.uint8, shape=shape)
            _fill(array, programs(count, seed), workers or cores())
            array.flush()
            del array
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _fill(array: np.ndarray, chosen: list[Program], workers: int) -> None:
    renders, side = array.shape[1:3]
    starts = range(0, len(chosen), _CHUNK)
    jobs = [(chosen[start : start + _CHUNK], renders, side) for start in starts]
    with tqdm(total=len(chosen), desc="bank", unit="program", disable=None, leave=False) as bar:
        if workers == 1 or len(jobs) == 1:
            results = map(_pictures, jobs)
            for start, pictures in zip(starts, results, strict=True):
                array[start : start + _CHUNK] = pictures
                bar.update(len(pictures))
            return
        with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn"), initializer=_alone) as pool:
            for start, pictures in zip(starts, pool.map(_pictures, jobs), strict=True):
                array[start : start + _CHUNK] = pictures
                bar.update(len(pictures))


def _alone() -> None:
    """One thread a process: there is a process for each core."""
    import torch

    torch.set_num_threads(1)


def _pictures(job: tuple[list[Program], int, int]) -> np.ndarray:
    chosen, renders, side = job
    return np.stack([[program.render(instance, side) for instance in range(renders)] for program in chosen])
