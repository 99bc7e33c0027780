"""Published figures beside measured ones: per category and for the mean, with the spread over seeds and a verdict."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import OptionError, did_you_mean
from ..util.mvtec_counts import CATEGORIES
from .costs import price
from .published import MEANS, row
from .recipes import RECIPES
from .record import Record, records

METRICS = {  # as published -> as in a record
    "image_auroc": "image_auroc",
    "pixel_auroc": "pixel_auroc",
    "aupro": "aupro",
    "image_f1": "image_f1max",
}
NEAR = 0.01  # a difference up to which a figure counts as reproduced, or twice the spread over seeds if that is more
ROOT = "data/mvtec_anomaly_detection"
FORMATS = ("markdown", "csv")


@dataclass(frozen=True)
class Line:
    """One line of the table; `measured` is empty where nothing was measured."""

    data: str
    recipe: str
    category: str
    published: float | None
    measured: tuple[float, ...]
    verdict: str

    @property
    def mean(self) -> float | None:
        return statistics.mean(self.measured) if self.measured else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds, where there are several."""
        return statistics.stdev(self.measured) if len(self.measured) > 1 else None

    @property
    def difference(self) -> float | None:
        return None if self.published is None or self.mean is None else self.mean - self.published


def comparison(
    folders: Iterable[Path], metric: str = "image_auroc", recipes: Sequence[str] | None = None
) -> list[Line]:
    """A line for each category of each recipe that has a published row or a record; then its mean over all fifteen.

    Records of the twin are lines of their own, without a published figure: they are no results on MVTec AD.
    """
    if metric not in METRICS:
        raise OptionError(f"no metric {metric!r}{did_you_mean(metric, METRICS)}")
    for name in recipes or ():
        if name not in RECIPES:
            raise OptionError(f"no recipe {name!r}{did_you_mean(name, RECIPES)}")
    kept = records(folders)
    lines = []
    for name in recipes or RECIPES:
        mine = [each for each in kept if each.recipe == name and each.metrics.get(METRICS[metric]) is not None]
        other = row(RECIPES[name].source, metric, RECIPES[name].row)
        if other or any(each.data == "mvtec" for each in mine):
            lines += _block("mvtec", name, mine, METRICS[metric], other.values if other else {})
        for data in ("twin", "own"):
            if any(each.data == data for each in mine):
                lines += _block(data, name, mine, METRICS[metric], {})
    return lines


def render(lines: Sequence[Line], form: str = "markdown") -> str:
    """The table as text."""
    if form not in FORMATS:
        raise OptionError(f"no format {form!r}{did_you_mean(form, FORMATS)}")
    heads = ("data", "recipe", "category", "published", "measured", "sd", "seeds", "difference", "verdict")
    cells = [
        (
            each.data,
            each.recipe,
            each.category,
            _figure(each.published),
            _figure(each.mean),
            _figure(each.spread),
            str(len(each.measured)) if each.measured else "",
            _figure(each.difference, "+.3f"),
            each.verdict,
        )
        for each in lines
    ]
    if form == "csv":
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([heads, *cells])
        return out.getvalue().rstrip()
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *cells))


def unmeasured(lines: Iterable[Line]) -> list[str]:
    """For each recipe with published figures and no record: the command that measures them, and what it takes."""
    names = dict.fromkeys(line.recipe for line in lines if line.verdict == "not measured")
    return [
        f"{name}: `padim-nb sweep --recipes {name} --data {ROOT}` measures what is missing; "
        f"{price(name)}; needs {RECIPES[name].needs}"
        for name in names
    ]


def _block(data: str, name: str, mine: list[Record], key: str, values: dict[str, float]) -> list[Line]:
    """The lines of one recipe on one kind of data, and their mean where all fifteen are there."""
    seeds: dict[str, dict[int, float]] = {}
    for each in mine:
        if each.data == data:
            seeds.setdefault(each.category, {})[each.seed] = float(each.metrics[key])
    chosen = [c for c in CATEGORIES if c in values or c in seeds] + sorted(set(seeds) - set(CATEGORIES))
    lines = [_line(data, name, c, values.get(c), tuple(seeds.get(c, {}).values())) for c in chosen]
    common = set.intersection(*(set(each) for each in seeds.values())) if len(seeds) == len(CATEGORIES) else set()
    means = tuple(statistics.mean(seeds[c][seed] for c in CATEGORIES) for seed in sorted(common))
    if all(c in values for c in MEANS["mean_all"]) or means:
        stated = [values[c] for c in CATEGORIES if c in values]
        lines.append(_line(data, name, "mean of 15", statistics.mean(stated) if len(stated) == 15 else None, means))
    return lines


def _line(data: str, recipe: str, category: str, stated: float | None, measured: tuple[float, ...]) -> Line:
    line = Line(data, recipe, category, stated, measured, "")
    return Line(data, recipe, category, stated, measured, _verdict(line))


def _verdict(line: Line) -> str:
    if not line.measured:
        return "not measured"
    if line.published is None:
        return "nothing published"
    near = max(NEAR, 2 * (line.spread or 0.0))
    return "reproduced" if abs(line.difference) <= near else "higher" if line.difference > 0 else "lower"


def _figure(value: float | None, form: str = ".3f") -> str:
    return "" if value is None else format(value, form)
