"""The twin's contact sheets as the book shows them, stamped with the renderer's version so that none goes stale."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..data.images import load_image, load_mask
from ..data.mvtec import load_category
from ..twin.store import version
from ..util.files import whole_file, writing_to
from ..util.mvtec_counts import CATEGORIES
from . import figures

STAMP = "renderer-version.txt"
JPEG = {"dpi": 150, "pil_kwargs": {"quality": 84, "optimize": True}}


def stamp() -> str:
    """The renderer's version of each category, a line each."""
    return "".join(f"{name} {version(name)}\n" for name in CATEGORIES)


def write_sheets(folder: Path) -> Iterator[Path]:
    """Render one contact sheet a category and the gallery of all fifteen into `folder`; yields each path written."""
    with writing_to(folder):
        (folder / STAMP).unlink(missing_ok=True)
    gallery: list[figures.Tile] = []
    for name in CATEGORIES:
        category = load_category(name, "twin")
        good, bad, *_ = figures.first_of_each(category)
        outline = load_mask(bad.mask) if bad.mask else None
        gallery.append((name.replace("_", " "), load_image(good.image), None))
        gallery.append((bad.defect.replace("_", " "), load_image(bad.image), outline))
        yield figures.save(figures.contact_sheet(category), folder / f"{name}.jpg", **JPEG)
    yield figures.save(figures.sheet(gallery, 10, 1.3), folder / "gallery.jpg", **JPEG)
    with whole_file(folder / STAMP) as scratch:
        scratch.write_text(stamp())
    yield folder / STAMP
