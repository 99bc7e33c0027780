"""`data extract`: an archive of MVTec AD unpacked, each category whole or not at all."""

from __future__ import annotations

import hashlib
import io
import lzma
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from ..errors import DataError
from ..util.files import writing_to
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
    with writing_to(into):
        into.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".extracting-", dir=into))
        try:
            digest = _unpack(archive, scratch)
            if expected and digest != expected.lower():
                raise DataError(f"{archive} has the SHA-256 {digest}, not {expected}: get it again")
            placed, present = _place(scratch, into)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    if not placed and not present:
        raise DataError(f"{archive} holds no category: expected members such as cable/train/good/000.png")
    lines = [f"sha256 {digest}", f"placed in {into}: {', '.join(placed) or 'nothing'}"]
    return "\n".join(lines + [f"already there, left alone: {', '.join(present)}"] * bool(present))


class _Hashing(io.RawIOBase):
    """A file that hashes and counts what is read from it, front to back."""

    def __init__(self, path: Path) -> None:
        self.file, self.digest = path.open("rb"), hashlib.sha256()
        self.bar = tqdm(total=path.stat().st_size, unit="B", unit_scale=True, desc=path.name, disable=None, leave=False)

    def read(self, size: int = -1) -> bytes:
        block = self.file.read(size)
        self.digest.update(block)
        self.bar.update(len(block))
        return block

    def finish(self) -> str:
        """The SHA-256 of the whole file."""
        while self.read(1 << 20):
            pass
        return self.digest.hexdigest()

    def close(self) -> None:
        self.bar.close()
        self.file.close()
        super().close()


def _unpack(archive: Path, scratch: Path) -> str:
    source = _Hashing(archive)
    try:
        with tarfile.open(fileobj=source, mode="r|*") as members:
            for member in members:
                target = _target(member, scratch, archive)
                if target is None:
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                data = members.extractfile(member)
                assert data is not None  # it is a regular file
                with data, open(target, "wb") as out:  # no modes, owners or times
                    shutil.copyfileobj(data, out, 1 << 20)
        return source.finish()
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of the archive
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{archive} is not a whole tar archive ({reason}): get it again") from error
    finally:
        source.close()


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
