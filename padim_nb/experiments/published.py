"""What others have published: their tables, with the source of each value."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import PadimError
from ..util.mvtec_counts import CATEGORIES

TEXTURES = ("carpet", "grid", "leather", "tile", "wood")
OBJECTS = tuple(name for name in CATEGORIES if name not in TEXTURES)
MEANS = {"mean_textures": TEXTURES, "mean_objects": OBJECTS, "mean_all": CATEGORIES}


@dataclass(frozen=True)
class Row:
    """One row (or column) of a published table: the values of one metric for each category, and the printed means."""

    source: str
    metric: str
    name: str
    values: dict[str, float]

    def mean(self, categories: tuple[str, ...] = CATEGORIES) -> float | None:
        """The mean over these categories, recomputed; None where one is missing."""
        if not set(categories) <= set(self.values):
            return None
        return sum(self.values[category] for category in categories) / len(categories)


@cache
def rows() -> tuple[Row, ...]:
    """All rows of all published tables."""
    tables: dict[tuple[str, str, str], dict[str, float]] = {}
    for path in sorted(_folder().glob("*.csv")):
        with open(path, newline="", encoding="utf-8") as lines:
            for line in csv.DictReader(lines):
                values = tables.setdefault((line["source"], line["metric"], line["row"]), {})
                if line["value"]:
                    values[line["category"]] = float(line["value"])
    return tuple(Row(*key, values) for key, values in tables.items())


def row(source: str, metric: str, name: str) -> Row | None:
    """One row, if it was published."""
    return next((row for row in rows() if (row.source, row.metric, row.name) == (source, metric, name)), None)


def _folder() -> Path:
    """The tables of the clone, or the copy that an installed package carries."""
    here = Path(__file__).parents[1]
    for path in (here.parent / "data" / "published", here / "assets" / "published"):
        if path.is_dir():
            return path
    raise PadimError("the published tables are not part of this installation: install padim-nb again")
