"""Where files go, and how they appear: whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from ..errors import CannotWrite

try:
    import fcntl
except ImportError:  # Windows: what a killed process leaves stays
    fcntl = None

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
    """The folder for rendered and cached files: PADIM_NB_CACHE, else the user's cache folder; never the repo."""
    if chosen := os.environ.get("PADIM_NB_CACHE"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "padim_nb"


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write below `path` into one clear line."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else _number_in(str(error))
        if number not in _REASONS:
            raise
        hint = " (PADIM_NB_CACHE chooses the cache folder)" if cache_root() in (path, *path.parents) else ""
        raise CannotWrite(f"cannot write {path}: {_REASONS[number]}{hint}") from error


def ensure_dir(folder: Path) -> Path:
    """The folder, made where it was not there; what is in the way is told in one line."""
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A scratch path beside `path`; when the block ends well it is synced and renamed to `path`, else removed.

    `with whole_file(target) as scratch: scratch.write_bytes(...)`. The scratch file keeps the ending of the target, so
    that writers which look at it (Pillow, safetensors) behave. What a killed process left is written over.
    """
    path = Path(path)
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _scratch_beside(path) as scratch:
            try:
                yield scratch
                scratch.chmod(0o644)
                _sync(scratch)
                os.replace(scratch, path)
            except BaseException:
                scratch.unlink(missing_ok=True)
                raise


@contextmanager
def whole_folder(path: Path, keep_existing: bool = False) -> Iterator[Path]:
    """Like `whole_file` for a folder: filled beside its place, then renamed.

    A folder that stands at `path` by then is replaced, or kept (another process was quicker with the same content).
    """
    path = Path(path)
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}-", dir=path.parent))
        try:
            yield scratch
            scratch.chmod(0o755)
            if keep_existing and path.is_dir():
                shutil.rmtree(scratch)
            else:
                _replace_folder(scratch, path)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _scratch_beside(path: Path) -> Iterator[Path]:
    """The first of `path`'s numbered scratch files that no process holds, empty, and held while it is written.

    One that a killed process left is held by nobody: the next writer takes it, and no folder need be searched for it.
    """
    for number in count():
        scratch = path.with_name(f".{path.stem[:40]}.part-{number}{path.suffix}")
        with ExitStack() as held:
            if _taken(scratch, held):
                yield scratch
                return


def _taken(scratch: Path, held: ExitStack) -> bool:
    """Whether this process may write here: it made the file, or holds the lock of one that was left."""
    try:
        handle, new = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), True
    except FileExistsError:
        if fcntl is None:
            return False
        try:
            handle, new = os.open(scratch, os.O_RDWR | os.O_NOFOLLOW), False
        except FileNotFoundError:  # finished in this moment
            return False
    stream = held.enter_context(os.fdopen(handle, "r+b"))
    if fcntl is None:
        stream.close()  # an open file could not be renamed there
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: only a new file is surely nobody's
        return new
    try:
        ours = os.path.samestat(os.fstat(handle), scratch.lstat())  # else its writer has just renamed or removed it
    except FileNotFoundError:
        return False
    if ours:
        stream.truncate()
    return ours


def _number_in(message: str) -> int | None:
    """The system's error number where a library (safetensors) only puts it into words."""
    found = re.search(r"\(os error (\d+)\)", message)
    return int(found[1]) if found else None


def _sync(path: Path) -> None:
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())


def _replace_folder(scratch: Path, path: Path) -> None:
    try:
        os.replace(scratch, path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        old = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}-old-", dir=path.parent))
        os.replace(path, old)
        os.replace(scratch, path)
        shutil.rmtree(old, ignore_errors=True)
