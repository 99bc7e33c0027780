"""Published values beside measured ones: per category and for the mean, with the spread over seeds and a verdict."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from scipy.special import stdtrit

from ..efficientad.settings import IMAGENETTE
from ..errors import expect_one_of
from ..padim.settings import PaDiMSettings
from ..util.mvtec_counts import CATEGORIES
from .costs import price
from .published import row
from .recipes import RECIPES, Settings
from .record import NAMED, Record, flat, plain, records

METRICS = {  # as published -> as in a record
    "image_auroc": "image_auroc",
    "pixel_auroc": "pixel_auroc",
    "aupro": "aupro",
    "image_f1": "image_f1max",
    "pixel_f1": "pixel_f1max",
}
NEAR = 0.01  # the largest difference of a mean that counts as reproduced
ROUNDED = 0.0005  # how far a published value may lie from what it was rounded from: most have three digits
CONFIDENCE = 0.95  # of the interval of a mean over seeds
ROOT = "data/mvtec_anomaly_detection"
FORMATS = ("markdown", "csv")


@dataclass(frozen=True)
class Line:
    """One line of the table; `measured` has a value a seed and is empty where nothing was measured."""

    data: str
    recipe: str
    category: str
    published: float | None
    measured: tuple[float, ...]
    verdict: str
    interval: tuple[float, float] | None = None  # over images, the mean of the seeds' ends, where all records have one

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

    No published value stands beside records of the twin, which are no results on MVTec AD, or of runs with other
    settings than the recipe's: these are lines of their own, and the verdict names what differs.
    """
    expect_one_of("metric", metric, METRICS)
    for name in recipes or ():
        expect_one_of("recipe", name, RECIPES)
    key = METRICS[metric]
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records(folders):
        if record.recipe in RECIPES and record.metrics.get(key) is not None:
            groups.setdefault((record.recipe, record.kind, differences(record)), []).append(record)
    lines = []
    for name in recipes or RECIPES:
        stated = row(RECIPES[name].source, metric, RECIPES[name].row)
        lines += _block("mvtec", name, groups.pop((name, "mvtec", ""), []), key, stated.values if stated else {})
        for (recipe, kind, other), group in sorted(groups.items()):
            if recipe == name:
                lines += _block(kind, name, group, key, {}, f"other settings: {other}" if other else "")
    return lines


def differences(record: Record) -> str:
    """The settings of a run, besides its seed, that are not its recipe's, such as "steps=2"; "" where there are none.

    Of records without settings only the training steps are known.
    """
    recipe = RECIPES[record.recipe].settings
    own = dict(flat(plain(recipe)))
    if record.settings is None:
        actual = {"training.steps": record.facts["steps"]} if "steps" in record.facts else {}
    else:
        actual = dict(flat(record.settings))
        actual["weights"] = record.weights.get("name", "unknown")
        if _expected_weights(recipe, record):
            del own["weights"]
    if own.get("penalty") in ("", IMAGENETTE) and actual.get("penalty") not in NAMED:
        del own["penalty"]  # a folder has to be given, or may be: that of all of ImageNet
    other = {
        name.rpartition(".")[2]: actual[name]
        for name in own
        if name in actual and actual[name] != own[name] and not name.endswith("seed")
    }
    return ", ".join(f"{name}={value}" for name, value in other.items())


def render(lines: Sequence[Line], form: str = "markdown") -> str:
    """The table as text."""
    expect_one_of("format", form, FORMATS)
    heads = ("data", "recipe", "category", "published", "measured", "sd", "seeds", "difference", "verdict")
    cells = []
    for line in lines:
        numbers = [_number(line.published), _number(line.mean), _number(line.spread), str(len(line.measured) or "")]
        cells.append((line.data, line.recipe, line.category, *numbers, _number(line.difference, "+.3f"), line.verdict))
    if form == "csv":
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([heads, *cells])
        return out.getvalue().rstrip()
    return "\n".join("| " + " | ".join(cell) + " |" for cell in (heads, ["---"] * len(heads), *cells))


def unmeasured(lines: Iterable[Line]) -> list[str]:
    """For each recipe with published figures and no record: the command that measures them, and what it takes."""
    names = dict.fromkeys(line.recipe for line in lines if line.verdict == "not measured")
    return [
        f"{name}: `padim-nb sweep --recipes {name} --data {ROOT}` measures what is missing; "
        f"{price(name)}; needs {RECIPES[name].needs}"
        for name in names
    ]


def deviations(lines: Iterable[Line]) -> list[str]:
    """Where the recipes of these lines differ from the program, or the paper, that they follow."""
    names = dict.fromkeys(line.recipe for line in lines)
    return [f"{name} differs: {'; '.join(RECIPES[name].deviations)}" for name in names if RECIPES[name].deviations]


def _expected_weights(recipe: Settings, record: Record) -> bool:
    """Whether a run's weights are what its recipe asks for: by their source, and by name where a file is named."""
    source = record.weights.get("source")
    if isinstance(recipe, PaDiMSettings):
        return source == (recipe.weights or ("formula" if recipe.backbone == "gabor" else "imagenet"))
    if recipe.weights in NAMED[1:]:
        return source == recipe.weights
    return source == "file" and recipe.weights in ("", record.weights.get("name"))


def _block(
    kind: str, name: str, group: Sequence[Record], key: str, values: Mapping[str, float], verdict: str = ""
) -> list[Line]:
    """The lines of one recipe on one kind of data, and their mean where all fifteen are there."""
    seeds: dict[str, dict[int, Record]] = {}
    for record in sorted(group, key=lambda record: record.settings is not None):  # with all settings before without
        seeds.setdefault(record.category, {})[record.seed] = record

    def line(category: str, stated: float | None, runs: Sequence[Sequence[Record]]) -> Line:
        """Each of `runs` are the records of one seed."""
        used = [record for own in runs for record in own]
        measured = tuple(statistics.mean(cast("float", record.metrics[key]) for record in own) for own in runs)
        ends = [record.intervals[key] for record in used if key in record.intervals]
        low, high = (statistics.mean(side) for side in zip(*ends, strict=True)) if ends else (0.0, 0.0)
        unjudged = Line(kind, name, category, stated, measured, "", (low, high) if len(ends) == len(used) > 0 else None)
        recorded = all(record.settings is not None for record in used)
        return replace(unjudged, verdict=verdict or _verdict(unjudged, recorded))

    chosen = [c for c in CATEGORIES if c in values or c in seeds] + sorted(set(seeds) - set(CATEGORIES))
    lines = [line(c, values.get(c), [[record] for record in seeds.get(c, {}).values()]) for c in chosen]
    common = set.intersection(*(set(seeds.get(category, {})) for category in CATEGORIES))
    complete = [[seeds[category][seed] for category in CATEGORIES] for seed in sorted(common)]
    stated = statistics.mean(values[c] for c in CATEGORIES) if set(CATEGORIES) <= set(values) else None
    if complete or stated is not None:
        lines.append(line("mean of 15", stated, complete))
    return lines


def _verdict(line: Line, recorded: bool) -> str:
    """What a line shows: *reproduced*, or what was seen.

    A value is reproduced where the mean over seeds differs from it by 0.01 at most, it lies in the mean's 95 % interval
    (Student's t over seeds), and all settings are recorded. One seed has no interval: only its difference is given.
    """
    if not line.measured:
        return "not measured"
    if line.difference is None or line.mean is None:
        return "nothing published"
    away, count, side = abs(line.difference), len(line.measured), "higher" if line.difference > 0 else "lower"
    if line.spread is None:
        text = f"one seed, {away:.3f} {side}"
    else:
        inside = away <= float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * line.spread / math.sqrt(count) + ROUNDED
        if inside and away <= NEAR and recorded:
            return "reproduced"
        side = side if not inside else "undecided" if away > NEAR else "near"
        text = f"{side}, {line.mean:.3f} ± {line.spread:.3f} over {count} seeds"
    return text if recorded else f"{text} (settings not recorded)"


def _number(value: float | None, form: str = ".3f") -> str:
    return "" if value is None else format(value, form)
