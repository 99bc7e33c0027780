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
CACHED = re.compile(r"/twin/(lite|full)-\d+-\d+/[0-9a-f]{8}(/|$)")


def write_marker(folder: Path) -> None:
    """Mark a folder of rendered images."""
    (folder / MARKER).write_text(TEXT, encoding="utf-8")


def is_rendered(folder: Path) -> bool:
    """Whether a folder's images were rendered: its marker, or one above it, says so, or it lies in the twin's cache."""
    folder = folder.resolve()
    marked = any((place / MARKER).is_file() for place in (folder, *folder.parents))
    return marked or CACHED.search(folder.as_posix()) is not None
