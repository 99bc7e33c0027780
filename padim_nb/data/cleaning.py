"""`data clean`: what killed commands left behind is removed; what else the cache could do without is listed by size."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import expect_one_of
from ..util.files import cache_root, writing_to
from .archive import leftovers
from .mvtec import USUAL_ROOT, usual_roots

WHAT = {
    "twins": "twin categories of earlier versions, which nothing uses any more",
    "banks": "procedural images, which are rendered again when they are needed",
    "images": "decoded images and hashes of files, which are made again when they are needed",
}


def clean(kinds: Sequence[str] = (), into: Path | None = None) -> list[str]:
    """Remove what killed `data extract` commands left, and the chosen kinds of cached files.

    Args:
        kinds: of "twins", "banks" and "images"; what is not chosen is only listed.
        into: a data root (default: the usual ones, PADIM_NB_DATA and the folder for an archive).

    Returns:
        A line for each removed folder or file, then one for each kind that is there, with sizes.
    """
    for kind in kinds:
        expect_one_of("kind of cached files", kind, WHAT)
    named = os.environ.get("PADIM_NB_DATA")
    roots = [into] if into else [*usual_roots(), *([Path(named)] if named else []), USUAL_ROOT]
    lines = []
    for root in dict.fromkeys(root.expanduser().resolve() for root in roots):
        lines += [_remove(scratch) for scratch in leftovers(root)]
    for kind, what in WHAT.items():
        paths = _cached(kind)
        if kind in kinds:
            lines += [_remove(path) for path in paths]
        elif paths:
            lines.append(
                f"{_bytes(sum(map(size_of, paths)))}  {kind}: {what}; `padim-nb data clean {kind}` removes them"
            )
    return lines or ["nothing to remove"]


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _cached(kind: str) -> list[Path]:
    root = cache_root()
    if kind == "banks":
        return sorted((root / "procedural").glob("*.npy"))
    if kind == "images":
        return sorted([*(root / "images").glob("*.npy"), *(root / "contents").glob("*.json")])
    from ..twin.store import version
    from ..util.mvtec_counts import CATEGORIES

    folders = sorted((root / "twin").glob("*/*/*"))
    return [f for f in folders if f.name in CATEGORIES and f.parent.name != version(f.name)]


def _remove(path: Path) -> str:
    size = size_of(path)
    with writing_to(path):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if cache_root() in path.parents:
            with suppress(OSError):  # a folder that holds more
                path.parent.rmdir()
    return f"{_bytes(size)}  {path}: removed"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
