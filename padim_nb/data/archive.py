"""`data extract`: an archive of MVTec AD unpacked, each category whole or not at all."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from ..errors import DataError
from ..util import files
from ..util.files import ABANDONED
from .mvtec import USUAL_ROOT

if sys.platform != "win32":
    import fcntl

SCRATCH = ".extracting-"
DEVICES = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    "CONIN$",
    "CONOUT$",
    *(f"{port}{n}" for port in ("COM", "LPT") for n in "123456789¹²³"),
}
LICENSE = """\
MVTec AD (P. Bergmann et al.) is licensed by its authors under CC BY-NC-SA 4.0: no commercial use. It is not part of
this project. Get it from the MVTec AD page of MVTec's web site (www.mvtec.com, company, research, datasets), then:
padim-nb data extract ARCHIVE. More in data/README.md."""
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, ValueError, OSError)


def extract(archive: Path, into: Path | None = None, sha256: str | None = None) -> str:
    """Unpack an archive of category folders below a data root.

    All is unpacked beside its place first; each category is then renamed into it at once. Categories that are there
    already are left alone. Members that point outside, on Windows too, links and devices end the extraction before
    anything is placed. What an extraction into this root left that was killed is removed.

    Args:
        archive: a .tar.xz, .tar.gz, .tar or .zip file.
        into: the data root (default: data/mvtec_anomaly_detection).
        sha256: the archive's SHA-256, which is refused otherwise.

    Returns:
        A report of several lines: the license, the SHA-256, the categories placed, those left alone.
    """
    archive, into = Path(archive), Path(into or USUAL_ROOT).expanduser()
    if not archive.is_file():
        raise DataError(f"no archive {archive}")
    digest = files.sha256(archive)
    if sha256 and digest != sha256.lower():
        raise DataError(f"{archive} has the SHA-256 {digest}, not {sha256}: get it again")
    with files.writing_to(into):
        into.mkdir(parents=True, exist_ok=True)
        for leftover in leftovers(into):
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=into) as scratch, _locked(Path(scratch)):
            unpack(archive, Path(scratch))
            placed, present = _place(Path(scratch), into)
    if not placed and not present:
        raise DataError(f"{archive} holds no category: expected members such as cable/train/good/000.png")
    lines = [LICENSE, f"sha256 {digest}", f"placed in {into}: {', '.join(placed) or 'nothing'}"]
    return "\n".join(lines + [f"already there, left alone: {', '.join(present)}"] * bool(present))


def unpack(archive: Path, folder: Path, wanted: Callable[[PurePosixPath], bool] = lambda path: True) -> None:
    """Unpack the plain files of a tar or zip archive that are wanted, by their paths in it.

    A member that points outside, a link or a device ends it, wanted or not.
    """
    try:
        for path, data in _zipped(archive) if zipfile.is_zipfile(archive) else _tarred(archive):
            if not wanted(path):
                continue
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with data, open(target, "wb") as out:  # no modes, owners or times
                shutil.copyfileobj(data, out, 1 << 20)
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of the archive
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{archive} is not a whole tar archive ({reason}): get it again") from error


def _tarred(archive: Path) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    with (
        open(archive, "rb") as file,
        tqdm.wrapattr(
            file, "read", total=archive.stat().st_size, desc=archive.name, disable=None, leave=False
        ) as stream,
        tarfile.open(fileobj=stream, mode="r|*") as members,  # type: ignore[call-overload]  # it only reads
    ):
        for member in members:
            path = _inside(archive, member.name, member.isdir() or member.isreg())
            if not member.isdir():
                yield path, members.extractfile(member)


def _zipped(archive: Path) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    with zipfile.ZipFile(archive) as members:
        for member in members.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            path = _inside(archive, member.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
            if not member.is_dir():
                yield path, members.open(member)


def _inside(archive: Path, name: str, plain: bool) -> PurePosixPath:
    """A member's path; anything but plain files and folders inside is refused."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise DataError(f"{archive} holds {name!r}, which points outside: refused, nothing was placed")
    if any(map(_is_odd_on_windows, path.parts)):
        raise DataError(f"{archive} holds {name!r}, no file name on Windows: refused, nothing was placed")
    if not plain:
        raise DataError(f"{archive} holds {name!r}, a link or device: refused, nothing was placed")
    return path


def _is_odd_on_windows(name: str) -> bool:
    """Whether Windows takes a name for a drive, a stream, a device or another name."""
    return ":" in name or name.rstrip(" .") != name or name.split(".")[0].rstrip().upper() in DEVICES


def leftovers(root: Path) -> list[Path]:
    """Folders of killed extractions below a data root; not one that a running extraction fills."""
    return [path for path in sorted(root.glob(f"{SCRATCH}*")) if path.is_dir() and not _in_use(path)]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder locked as long as this process lives: the system lets go of it however the process ends."""
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: its age decides
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _in_use(folder: Path) -> bool:
    age = time.time() - folder.stat().st_mtime
    if sys.platform == "win32" or age < 2:  # it may be locked in the next moment
        return age < ABANDONED
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return age < ABANDONED
    finally:
        os.close(handle)
    return False


def _place(scratch: Path, into: Path) -> tuple[list[str], list[str]]:
    """Move what was unpacked to its place: (categories that were placed, categories that were there already)."""
    placed: list[str] = []
    present: list[str] = []
    for path in sorted([*scratch.glob("*"), *scratch.glob("*/*")]):  # at the top of the archive or one folder down
        target = into / path.name
        if (path / "train" / "good").is_dir():
            (present if target.exists() else placed).append(path.name)
        elif not (path.is_file() and path.parent == scratch):  # the license and the readme
            continue
        if not target.exists():
            path.rename(target)
    return placed, present
