"""A published file fetched over HTTP: resumed after a cut, checked by size and SHA-256, there whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import AbstractContextManager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout
from tqdm import tqdm

from ..errors import CannotWrite, WeightsError
from .files import ensure_dir, sha256, writing_to

STALL = 30.0  # seconds without a byte before a connection is given up
BLOCK = 1 << 18
USER = "padim-nb (urllib)"


def download(address: str, target: Path, digest: str, size: int = 0, extra: int = 0) -> Path:
    """Fetch a file into `<target>.partial`, check it there, and move it to `target`.

    A connection that is cut is taken up where it ended, as long as each one brings more; what has arrived stays for the
    next call. Only one process fetches a target at a time.

    Args:
        address: of the file.
        target: where it goes; its folder is made.
        digest: its SHA-256, or the first digits of it.
        size: its bytes, where they are known.
        extra: bytes that must be free beside it, such as for what will be unpacked.
    """
    ensure_dir(target.parent)
    partial = target.with_name(f"{target.name}.partial")
    try:
        with _alone(target), writing_to(target):
            if not size or _length(partial) < size:
                _resume(address, partial, size, extra)
            check(partial, digest, size)
            os.replace(partial, target)
    except (HTTPException, OSError, ValueError) as error:  # ValueError: what is no address
        if not _length(partial):
            partial.unlink(missing_ok=True)
        raise WeightsError(
            f"could not download {target.name} ({error or type(error).__name__}): give the command again, it goes on "
            f"from {_length(partial) / 1e6:.1f} MB; or carry the file here and give it with --from FILE"
        ) from error
    except _Damaged as error:
        partial.unlink(missing_ok=True)
        raise WeightsError(f"{target.name} arrived cut short or damaged ({error}): give the command again") from error
    return target


def check(path: Path, digest: str, size: int = 0) -> None:
    """Refuse a file that has not this size (0: any) and a SHA-256 with these first digits."""
    if size and _length(path) != size:
        raise _Damaged(f"{_length(path):,} bytes, not {size:,}")
    if not (actual := sha256(path)).startswith(digest):
        raise _Damaged(f"its SHA-256 begins with {actual[:16]}, not {digest[:16]}")


def expect_space(folder: Path, size: float) -> None:
    """Refuse to begin what the disk of a folder has no space for."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise CannotWrite(
            f"cannot write below {folder}: {size / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are free: "
            "free some space or choose another folder (PADIM_NB_CACHE chooses the cache folder)"
        )


class _Damaged(WeightsError):
    """A file that is not the published one."""


def _resume(address: str, partial: Path, size: int, extra: int) -> None:
    """Connect until all is there, or a connection brings nothing new."""
    reached = -1
    while _length(partial) > reached:
        reached = _length(partial)
        trouble: Exception = HTTPException("the connection was cut")
        try:
            if _transfer(address, partial, size, extra):
                return
        except (HTTPException, OSError) as error:
            trouble = error
    raise trouble


def _transfer(address: str, partial: Path, size: int, extra: int) -> bool:
    """One connection, which adds to the partial file; whether all is there."""
    begin = _length(partial)
    headers = {"User-Agent": USER, "Accept-Encoding": "identity"} | ({"Range": f"bytes={begin}-"} if begin else {})
    try:
        response = urlopen(Request(address, headers=headers), timeout=STALL)
    except HTTPError as error:
        if error.code != 416 or not begin:
            raise
        partial.unlink()  # it is as long as the file, or longer
        return _transfer(address, partial, size, extra)
    with response:
        begin, total = _span(response, begin)
        if size and total and total != size:
            raise _Damaged(f"the server has {total:,} bytes, published were {size:,}")
        expect_space(partial.parent, (total or size) - begin + extra)
        with (
            writing_to(partial),
            open(partial, "r+b" if begin else "wb") as out,
            tqdm(total=total or size or None, initial=begin, unit="B", unit_scale=True, desc=partial.stem,
                 disable=None, leave=False) as bar,
        ):  # fmt: skip
            out.seek(begin)
            out.truncate()
            while block := response.read(BLOCK):
                out.write(block)
                bar.update(len(block))
    return _length(partial) >= (total or size)


def _span(response: HTTPResponse, begin: int) -> tuple[int, int]:
    """(first byte that is sent, bytes of the whole file or 0): a server may ignore where we wanted to begin."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if response.status == 206 and match and int(match[1]) == begin:
        return begin, int(match[2])
    if response.status == 206:
        raise HTTPException(f"the server answered with another part ({response.headers.get('Content-Range')})")
    return 0, int(response.headers.get("Content-Length") or 0)


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _alone(target: Path) -> AbstractContextManager[object]:
    """Only one process fetches a file; the lock goes with the process, also when it is killed."""
    try:
        with writing_to(target):
            return FileLock(target.with_name(f".{target.name}.lock")).acquire(timeout=0)
    except Timeout:
        raise WeightsError(f"another process is downloading {target.name}: wait for it") from None
