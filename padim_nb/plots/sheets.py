"""The twin's contact sheets as the book shows them, stamped with the renderer's version so that none goes stale."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt

from ..data.mvtec import load_category
from ..twin.store import version
from ..util.files import whole_file, writing_to
from ..util.mvtec_counts import CATEGORIES
from . import figures

STAMP = "renderer-version.txt"


def stamp() -> str:
    """The renderer's version of each category, a line each."""
    return "".join(f"{name} {version(name)}\n" for name in CATEGORIES)


def write_sheets(folder: Path) -> Iterator[Path]:
    """Render one contact sheet a category and the gallery of all fifteen into `folder`; yields each path written."""
    with writing_to(folder):
        (folder / STAMP).unlink(missing_ok=True)
    categories = [load_category(name, "twin") for name in CATEGORIES]
    for category in categories:
        yield _save(figures.contact_sheet(category), folder / f"{category.name}.jpg")
    yield _save(figures.gallery(categories), folder / "gallery.jpg")
    with whole_file(folder / STAMP) as scratch:
        scratch.write_text(stamp())
    yield folder / STAMP


def _save(figure: plt.Figure, path: Path) -> Path:
    with whole_file(path) as scratch:
        figure.savefig(scratch, dpi=150, pil_kwargs={"quality": 84, "optimize": True})
    plt.close(figure)
    return path
