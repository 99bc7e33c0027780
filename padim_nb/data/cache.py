"""Framed images cached on disk as one array a set of files, so that the second recipe decodes no image again."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL

from ..errors import CannotWrite, DataError
from ..util.files import cache_root, whole_file

if TYPE_CHECKING:
    from .images import Frame

DECODER = 2  # raised whenever `load_image` or `Frame.apply` makes other pixels of the same file
LIMIT = 4 << 30  # bytes; the least recently used go first


def cached(paths: Sequence[Path], frame: Frame, images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The framed images, memory-mapped where this very set was framed before, else those of `images`, cached then.

    A file that changed (size or time) is another set, and so it is for another Pillow or decoder. Images of mixed sizes
    are not cached. Where the cache cannot be written, a warning says so and the images come without it.

    Args:
        paths: the files, in order.
        frame: how they are resized and cropped.
        images: the framed images, uint8 (height, width, 3), decoded when they are asked for.
    """
    path = cache_root() / "images" / f"{_key(paths, frame)}.npy"
    array = _open(path)
    if array is not None:
        yield from array
        return
    shapes: set[tuple[int, ...]] = set()
    try:
        with whole_file(path) as scratch, open(scratch, "wb") as out:
            for image in images:
                yield image  # first, so that none is lost where it cannot be written
                if not shapes:
                    header = {"descr": "|u1", "fortran_order": False, "shape": (len(paths), *image.shape)}
                    np.lib.format.write_array_header_1_0(out, header)
                shapes.add(image.shape)
                if len(shapes) == 1:
                    out.write(image.tobytes())
        if len(shapes) > 1:
            path.unlink(missing_ok=True)
        _remove_oldest(path.parent)
    except (CannotWrite, OSError) as error:
        reason = getattr(error.__cause__ or error, "strerror", None) or error
        warnings.warn(f"cannot write the cache {cache_root()} ({reason}): going on without it", stacklevel=2)
        yield from images


def _key(paths: Sequence[Path], frame: Frame) -> str:
    decoder = [DECODER, PIL.__version__, asdict(frame)]
    digest = hashlib.sha256(json.dumps(decoder, sort_keys=True).encode())
    for path in paths:
        digest.update(state_of(path) + b"\n")
    return digest.hexdigest()[:32]


def state_of(path: Path) -> bytes:
    """A file's path, size and times (of modification and of its inode): what changes when the file does."""
    try:
        stat = os.stat(path)
    except OSError as error:
        raise DataError(f"{path} does not exist") from error
    return os.fsencode(os.path.abspath(path)) + b"\0%d\0%d\0%d" % (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _open(path: Path) -> np.ndarray | None:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or damaged
        return None
    with suppress(OSError):  # a cache that can only be read
        os.utime(path)
    return array


def _remove_oldest(folder: Path) -> None:
    """Hold the folder below its limit."""
    total = 0
    with suppress(FileNotFoundError):  # another process does the same
        for path in sorted(folder.glob("*.npy"), key=os.path.getmtime, reverse=True):
            total += path.stat().st_size
            if total > LIMIT:
                path.unlink()
