"""Published values beside measured ones: per category and for the mean, with the spread over seeds and a verdict."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..efficientad.settings import EfficientADSettings
from ..errors import expect_one_of
from ..padim.settings import PaDiMSettings
from ..util.mvtec_counts import CATEGORIES
from .costs import price
from .published import MEANS, row
from .recipes import RECIPES
from .record import NAMED, Record, flat, plain, records

METRICS = {  # as published -> as in a record
    "image_auroc": "image_auroc",
    "pixel_auroc": "pixel_auroc",
    "aupro": "aupro",
    "image_f1": "image_f1max",
}
NEAR = 0.01  # a difference up to which a value counts as reproduced, or twice the spread over seeds if that is more
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
    measured = [r for r in records(folders) if r.metrics.get(METRICS[metric]) is not None and r.recipe in RECIPES]
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in measured:
        groups.setdefault((record.recipe, record.kind, differences(record)), []).append(record)
    lines = []
    for name in recipes or RECIPES:
        stated = row(RECIPES[name].source, metric, RECIPES[name].row)
        values = stated.values if stated else {}
        if values or (name, "mvtec", "") in groups:
            lines += _block("mvtec", name, groups.get((name, "mvtec", ""), []), METRICS[metric], values)
        for (recipe, kind, other), group in sorted(groups.items()):
            if recipe == name and (kind, other) != ("mvtec", ""):
                lines += _block(kind, name, group, METRICS[metric], {}, f"other settings: {other}" if other else "")
    return lines


def differences(record: Record) -> str:
    """The settings of a run, besides its seed, that are not its recipe's, such as "steps=2"; "" where there are none.

    Of records without settings (written before version 0.3) only the training steps are known.
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
    if own.get("penalty") == "" and actual.get("penalty") not in NAMED:
        del own["penalty"]  # a folder has to be given
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
    cells = [
        (
            line.data,
            line.recipe,
            line.category,
            _number(line.published),
            _number(line.mean),
            _number(line.spread),
            str(len(line.measured)) if line.measured else "",
            _number(line.difference, "+.3f"),
            line.verdict,
        )
        for line in lines
    ]
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


def _expected_weights(recipe: PaDiMSettings | EfficientADSettings, record: Record) -> bool:
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
    chosen = [c for c in CATEGORIES if c in values or c in seeds] + sorted(set(seeds) - set(CATEGORIES))

    def line(category: str, stated: float | None, measured: Iterable[float], used: Collection[Record]) -> Line:
        unjudged = Line(kind, name, category, stated, tuple(measured), verdict)
        text = verdict or _verdict(unjudged)
        if stated is not None and any(record.settings is None for record in used):
            text += " (settings not recorded)"
        return replace(unjudged, verdict=text, interval=_interval(used, key))

    lines = []
    for category in chosen:
        used = list(seeds.get(category, {}).values())
        lines.append(line(category, values.get(category), [_value(record, key) for record in used], used))
    common = set.intersection(*(set(own) for own in seeds.values())) if set(seeds) >= set(CATEGORIES) else set()
    complete = [[seeds[category][seed] for category in CATEGORIES] for seed in sorted(common)]
    if all(category in values for category in MEANS["mean_all"]) or complete:
        stated = statistics.mean(values[c] for c in CATEGORIES) if set(CATEGORIES) <= set(values) else None
        means = [statistics.mean(_value(record, key) for record in runs) for runs in complete]
        lines.append(line("mean of 15", stated, means, [record for runs in complete for record in runs]))
    return lines


def _interval(used: Collection[Record], key: str) -> tuple[float, float] | None:
    ends = [record.intervals[key] for record in used if key in record.intervals]
    if not ends or len(ends) < len(used):
        return None
    return statistics.mean(low for low, _ in ends), statistics.mean(high for _, high in ends)


def _value(record: Record, key: str) -> float:
    value = record.metrics[key]
    assert value is not None  # `comparison` takes no others
    return value


def _verdict(line: Line) -> str:
    if not line.measured:
        return "not measured"
    if line.difference is None:
        return "nothing published"
    near = max(NEAR, 2 * (line.spread or 0.0))
    return "reproduced" if abs(line.difference) <= near else "higher" if line.difference > 0 else "lower"


def _number(value: float | None, form: str = ".3f") -> str:
    return "" if value is None else format(value, form)
