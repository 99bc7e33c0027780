"""`data extract`: an archive of MVTec AD unpacked, each category whole or not at all."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from ..errors import DataError
from ..util.files import sha256, writing_to
from .mvtec import USUAL_ROOT


def extract(archive: Path, into: Path | None = None, expected: str | None = None) -> str:
    """Unpack an archive of category folders below a data root.

    All is unpacked beside its place first; each category is then renamed into it at once. Categories that are there
    already are left alone. Members that point outside, links and devices end the extraction before anything is placed.

    Args:
        archive: a .tar.xz, .tar.gz or .tar file.
        into: the data root (default: data/mvtec_anomaly_detection).
        expected: the archive's SHA-256, which is refused otherwise.

    Returns:
        A report of several lines: the SHA-256, the categories placed, those left alone.
    """
    archive, into = Path(archive), Path(into or USUAL_ROOT)
    if not archive.is_file():
        raise DataError(f"no archive {archive}")
    digest = sha256(archive)
    if expected and digest != expected.lower():
        raise DataError(f"{archive} has the SHA-256 {digest}, not {expected}: get it again")
    with writing_to(into):
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".extracting-", dir=into) as scratch:
            _unpack(archive, Path(scratch))
            placed, present = _place(Path(scratch), into)
    if not placed and not present:
        raise DataError(f"{archive} holds no category: expected members such as cable/train/good/000.png")
    lines = [f"sha256 {digest}", f"placed in {into}: {', '.join(placed) or 'nothing'}"]
    return "\n".join(lines + [f"already there, left alone: {', '.join(present)}"] * bool(present))


def _unpack(archive: Path, scratch: Path) -> None:
    size = archive.stat().st_size
    try:
        with (
            open(archive, "rb") as file,
            tqdm.wrapattr(file, "read", total=size, desc=archive.name, disable=None, leave=False) as stream,
            tarfile.open(fileobj=stream, mode="r|*") as members,  # type: ignore[call-overload]  # it only reads
        ):
            for member in members:
                target = _target(member, scratch, archive)
                if target is None:
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                data = members.extractfile(member)
                assert data is not None  # it is a regular file
                with data, open(target, "wb") as out:  # no modes, owners or times
                    shutil.copyfileobj(data, out, 1 << 20)
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of the archive
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{archive} is not a whole tar archive ({reason}): get it again") from error


def _target(member: tarfile.TarInfo, scratch: Path, archive: Path) -> Path | None:
    """Where a member goes, None for folders; anything but plain files and folders inside is refused."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
        raise DataError(f"{archive} holds {member.name!r}, which points outside: refused, nothing was placed")
    if member.isdir():
        return None
    if not member.isreg():
        raise DataError(f"{archive} holds {member.name!r}, a link or device: refused, nothing was placed")
    return scratch.joinpath(*(part for part in path.parts if part != "."))


def _place(scratch: Path, into: Path) -> tuple[list[str], list[str]]:
    placed: list[str] = []
    present: list[str] = []
    for category in _categories(scratch):
        target = into / category.name
        if target.exists():
            present.append(category.name)
            continue
        category.rename(target)
        placed.append(category.name)
    for rest in [path for path in scratch.glob("*") if path.is_file() and not (into / path.name).exists()]:
        rest.rename(into / rest.name)  # the license and the readme
    return placed, present


def _categories(scratch: Path) -> Iterator[Path]:
    """Folders with train/good, at the top of the archive or one folder down."""
    for folder in sorted([*scratch.glob("*"), *scratch.glob("*/*")]):
        if (folder / "train" / "good").is_dir():
            yield folder
