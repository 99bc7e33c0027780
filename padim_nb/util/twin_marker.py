"""The file that says that a folder's images were rendered, so that nothing takes the twin for MVTec AD."""

from __future__ import annotations

import re
from pathlib import Path

MARKER = "RENDERED.txt"
TEXT = """\
Rendered by padim-nb: images of the procedural twin, not photographs and not MVTec AD.
Results on them are results on the twin. The program reads this file: leave it here.
"""
# A rendered category in a cache, also of an earlier version, which wrote no marker.
CACHED = re.compile(r"/twin/(?:lite|full)-\d+-(\d+)/[0-9a-f]{8}(?:/|$)")
SEED = re.compile(r"^Seed: (\d+)$", flags=re.M)


def write_marker(folder: Path, seed: int = 0) -> None:
    """Mark a folder of rendered images, with the seed where it is not the book's."""
    (folder / MARKER).write_text(TEXT + (f"Seed: {seed}\n" if seed else ""), encoding="utf-8")


def is_rendered(folder: Path) -> bool:
    """Whether a folder's images were rendered: its marker, or one above it, says so, or it lies in the twin's cache."""
    return rendered_seed(folder) is not None


def rendered_seed(folder: Path) -> int | None:
    """The seed that a folder's images were rendered with, 0 where nothing says another; None of other images."""
    folder = folder.resolve()
    if cached := CACHED.search(folder.as_posix()):
        return int(cached[1])
    marker = next((place / MARKER for place in (folder, *folder.parents) if (place / MARKER).is_file()), None)
    if marker is None:
        return None
    stated = SEED.search(marker.read_text(encoding="utf-8", errors="replace"))
    return int(stated[1]) if stated else 0
