"""Where files go, and how they appear: whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import platformdirs

from ..errors import CannotWrite

ABANDONED = 86_400.0  # seconds after which a scratch file or folder belongs to no running process
_SCRATCH = ".padim-nb-part-"

_REASONS = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another folder",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "no permission to write there: choose another folder",
    errno.EPERM: "no permission to write there: choose another folder",
    errno.ENOTDIR: "a file is in the way of a folder: choose another place",
    errno.EEXIST: "a file is in the way of a folder: choose another place",
    errno.EISDIR: "a folder is in the way of a file: choose another place",
    errno.ENAMETOOLONG: "a name is too long for this file system: choose a shorter one",
}


def cache_root() -> Path:
    """The folder for rendered and cached files: PADIM_NB_CACHE, else the user's cache folder."""
    if folder := os.environ.get("PADIM_NB_CACHE"):
        return Path(folder).expanduser().absolute()
    return platformdirs.user_cache_path("padim_nb", appauthor=False, opinion=False)


def seen_from_here(path: Path) -> Path:
    """A path for a message: relative where it lies below the working folder, whole elsewhere."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write below `path` into `CannotWrite` with one line."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else _number_in(str(error))
        if number not in _REASONS:
            raise
        hint = " (PADIM_NB_CACHE chooses the cache folder)" if cache_root() in (path, *path.parents) else ""
        raise CannotWrite(f"cannot write {path}: {_REASONS[number]}{hint}") from error


def ensure_dir(folder: Path) -> Path:
    """The folder, with its parents, made where it does not exist."""
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A scratch file that is moved to `path` when the block ends well and removed when it fails.

    `with whole_file(target) as scratch: scratch.write_bytes(...)`. The scratch file has the ending of the target, as
    writers such as Pillow look at it, but not its name, and the user's usual permissions.
    """
    path = Path(path)
    with _scratch_folder(path) as folder:
        scratch = folder / f"part{path.suffix}"
        scratch.touch()
        mode = scratch.stat().st_mode & 0o777
        yield scratch
        scratch.chmod(mode)  # a writer may have replaced the file by one of its own
        with open(scratch, "r+b") as stream:  # Windows refuses fsync on a handle that is read-only
            os.fsync(stream.fileno())
        os.replace(scratch, path)


@contextmanager
def whole_folder(path: str | Path, keep_existing: bool = False) -> Iterator[Path]:
    """Like `whole_file` for a folder.

    A folder that exists at `path` by then is replaced, or kept: another process was quicker with the same content.
    """
    path = Path(path)
    with _scratch_folder(path) as folder:
        scratch = folder / path.name
        scratch.mkdir()
        yield scratch
        if path.is_dir():
            if keep_existing:
                return
            os.replace(path, folder / "old")
        os.replace(scratch, path)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _scratch_folder(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path`, which is removed in the end."""
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _tidy(path.parent.absolute())
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=path.parent, ignore_cleanup_errors=True) as folder:
            yield Path(folder)


@cache
def _tidy(folder: Path) -> None:
    """Remove what killed processes left in a folder; once in each process, as it may hold many files."""
    for scratch in folder.glob(f"{_SCRATCH}*"):
        remove_abandoned(scratch)


def remove_abandoned(scratch: Path) -> None:
    """Remove a scratch file or folder that is older than a day; a younger one may be in use."""
    with suppress(OSError):
        if time.time() - scratch.lstat().st_mtime > ABANDONED:
            shutil.rmtree(scratch) if scratch.is_dir() else scratch.unlink()


def _number_in(message: str) -> int | None:
    """The system's error number in the message of a library (safetensors) that has no `errno`."""
    match = re.search(r"\(os error (\d+)\)", message)
    return int(match[1]) if match else None
