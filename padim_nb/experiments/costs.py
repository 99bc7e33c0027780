"""Time and memory of each recipe on a plain machine, measured by `benchmarks/costs.py`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import mean

from ..util.mvtec_counts import published

TRAIN = round(mean(counts.images.train for counts in published().values()))  # images of a typical category
TEST = round(mean(counts.images.test for counts in published().values()))
UNKNOWN_MB = 8000.0  # of a recipe that was not measured: as much as a large one


@dataclass(frozen=True)
class Cost:
    """Of one run on a category of typical size, and where that was measured."""

    minutes: float
    peak_mb: float
    where: str

    def __str__(self) -> str:
        return f"{in_words(self.minutes)} and {self.peak_mb / 1000:.1f} GB a category"


@cache
def costs() -> Mapping[str, Cost]:
    """The cost of each recipe that was measured."""
    rows = json.loads((files("padim_nb") / "assets" / "costs.json").read_text(encoding="utf-8"))["rows"]
    return {name: Cost(row["minutes a category"], row["peak MB"], row["on"]) for name, row in rows.items()}


def price(recipe: str) -> str:
    """Time and memory of a recipe on one category, in words."""
    cost = costs().get(recipe)
    return f"about {cost} on {cost.where}" if cost else "time and memory not measured"


def peak_mb(recipes: Iterable[str]) -> float:
    """The memory of the largest of these recipes."""
    return max(costs()[name].peak_mb if name in costs() else UNKNOWN_MB for name in recipes)


def in_words(minutes: float) -> str:
    """A length of time as a person says it."""
    for size, word in ((60 * 24, "days"), (60, "hours")):
        if minutes >= 2 * size:
            return f"{minutes / size:.0f} {word}"
    return f"{minutes:.0f} minutes" if minutes >= 2 else f"{round(60 * minutes, -1):.0f} seconds"
