"""Framed pictures kept on disk as one array a category, so that the second recipe decodes no image again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..util.files import cache_root, whole_file

LIMIT = 4 << 30  # bytes; the least recently used go first
ABANDONED = 86_400.0  # seconds after which a scratch file is nobody's


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
    """Keep the folder below its limit; what another process is just writing (a hidden file) is left alone for a day."""
    found = {path: stamp for path in folder.glob("*.npy") if (stamp := _stamp(path))}
    total, now = 0, time.time()
    for path, (changed, size) in sorted(found.items(), key=lambda item: item[1], reverse=True):
        hidden = path.name.startswith(".")
        total += 0 if hidden else size
        if (now - changed > ABANDONED) if hidden else (total > LIMIT):
            path.unlink(missing_ok=True)


def _stamp(path: Path) -> tuple[float, int] | None:
    try:
        found = path.stat()
    except OSError:  # another process was quicker
        return None
    return found.st_mtime, found.st_size
