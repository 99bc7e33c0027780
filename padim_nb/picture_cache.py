"""Framed pictures kept on disk as one array a category, so that the second recipe decodes no image again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError
from .files import cache_root, whole_file

LIMIT = 4 << 30  # bytes; the least recently used go first


def cached(
    paths: Sequence[Path], frame: Any, framed: Callable[[Path], np.ndarray], decode: Callable[..., Iterator[np.ndarray]]
) -> Iterator[np.ndarray]:
    """The framed picture of each path: memory-mapped where this very set was framed before, else decoded and kept.

    A file that changed (size or time) is another set. Pictures of mixed sizes are passed on and not kept.
    """
    place = cache_root() / "pictures" / f"{_key(paths, frame)}.npy"
    if (kept := _open(place, len(paths))) is not None:
        yield from kept
        return
    shapes: set[tuple[int, ...]] = set()
    with whole_file(place) as scratch, open(scratch, "wb") as out:
        for picture in decode(framed, paths):
            if not shapes:
                header = {"descr": "|u1", "fortran_order": False, "shape": (len(paths), *picture.shape)}
                np.lib.format.write_array_header_1_0(out, header)
            shapes.add(picture.shape)
            if len(shapes) == 1:
                out.write(picture.tobytes())
            yield picture
    if len(shapes) > 1:
        place.unlink(missing_ok=True)
    _forget_oldest(place.parent)


def _key(paths: Sequence[Path], frame: Any) -> str:
    digest = hashlib.sha256(json.dumps(asdict(frame), sort_keys=True).encode())
    for path in paths:
        try:
            found = os.stat(path)
        except OSError as error:
            raise DataError(f"{path} does not exist") from error
        digest.update(f"{os.path.abspath(path)}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def _open(place: Path, count: int) -> np.ndarray | None:
    try:
        array = np.load(place, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or damaged: made again
        return None
    if array.dtype != np.uint8 or array.ndim != 4 or len(array) != count:
        return None
    os.utime(place)
    return array


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.glob("*.npy"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for path in files:
        total += path.stat().st_size
        if total > LIMIT:
            path.unlink(missing_ok=True)
