"""What papermill and Dask add to a run, and what a second worker saves.

python benchmarks/sweep.py [--categories bottle cable ...] [--recipes padim-lite0 ...] [--ways plain one two half]
                           [--out data/records/sweep.json]

Four ways through the same runs, recipe by recipe, one way after the other: the notebook's cells as a plain script in a
Python of its own; a sweep with one worker, which has all cores; a sweep with two, which share them; and a sweep with
one worker that has half of the cores, as much as each of the two had. Every second recipe takes the ways in the
other order, as machines change their pace. The twin is rendered beforehand.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import nbformat

from padim_nb.data.mvtec import load_category
from padim_nb.experiments.run import template
from padim_nb.experiments.settings import RunSettings
from padim_nb.experiments.sweep import plan, sweep
from padim_nb.experiments.workers import cores
from padim_nb.util import mvtec_counts as counts
from padim_nb.util.machine import machine

CATEGORIES = ("bottle", "cable", "carpet", "grid", "leather", "pill", "screw", "zipper")


def as_script(settings: RunSettings) -> str:
    """The notebook's code with these settings in place of its parameters."""
    cells = [cell for cell in nbformat.read(template(), 4).cells if cell.cell_type == "code"]
    given = f"category, recipe, out = {settings.category!r}, {settings.recipe!r}, {settings.out!r}"
    return "\n\n".join(
        cell.source + ("\n" + given if "parameters" in cell.metadata.get("tags", ()) else "") for cell in cells
    )


def plain(runs: list[RunSettings], _: Path) -> tuple[float, list[float]]:
    """Seconds of all runs, and of each, without papermill, Dask or images on a page."""
    seconds = [script(settings) for settings in runs]
    return sum(seconds), seconds


def script(settings: RunSettings) -> float:
    """Seconds of one run as a plain script."""
    path = settings.folder / "run.py"
    path.parent.mkdir(parents=True)
    path.write_text(as_script(settings))
    start = time.perf_counter()
    environment = os.environ | {"MPLBACKEND": "agg"}
    subprocess.run([sys.executable, path], cwd=path.parent, env=environment, stdout=subprocess.DEVNULL, check=True)
    seconds = time.perf_counter() - start
    assert (settings.folder / "record.json").is_file()
    return seconds


def swept(runs: list[RunSettings], out: Path, workers: int, budget: int = 0) -> tuple[float, list[float]]:
    """Seconds of the whole sweep, and of each run in it, in the order of the runs."""
    start = time.perf_counter()
    outcomes = sweep(runs, out, workers, cores=budget)
    whole = time.perf_counter() - start
    assert all(outcome.state == "done" for outcome in outcomes)
    seconds = {outcome.settings.category: outcome.seconds for outcome in outcomes}
    return whole, [seconds[run.category] for run in runs]


WAYS = {
    "plain": ("plain script", plain),
    "one": ("one worker", lambda runs, out: swept(runs, out, 1)),
    "two": ("two workers", lambda runs, out: swept(runs, out, 2)),
    "half": ("one worker, half of the cores", lambda runs, out: swept(runs, out, 1, max(1, cores() // 2))),
}


def measured(recipes: Sequence[str], categories: Sequence[str], ways: Sequence[str], root: Path) -> dict[str, object]:
    """All ways through all runs, and what follows from them."""
    whole, by_way = dict.fromkeys(ways, 0.0), {way: [] for way in ways}
    for number, recipe in enumerate(recipes):
        for way in ways if number % 2 == 0 else reversed(ways):
            out = root / way / recipe
            seconds, runs = WAYS[way][1](plan([recipe], categories, [-1], out), out)
            whole[way] += seconds
            by_way[way] += runs
    record: dict[str, object] = {
        "runs": len(recipes) * len(categories),
        "seconds a run": {WAYS[way][0]: round(median(by_way[way]), 2) for way in ways},
        "seconds of the sweep": {WAYS[way][0]: round(whole[way], 1) for way in ways},
    }
    if {"plain", "one"} <= set(ways):
        more = [run - bare for run, bare in zip(by_way["one"], by_way["plain"], strict=True)]
        record["seconds papermill and Dask add to a run"] = round(median(more), 2)
    if {"one", "two"} <= set(ways):
        record["two workers / one"] = round(whole["two"] / whole["one"], 3)
    if {"half", "two"} <= set(ways):
        record["two workers / one with half of the cores"] = round(whole["two"] / whole["half"], 3)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--categories", nargs="+", default=list(CATEGORIES), help="names, or all")
    parser.add_argument("--recipes", nargs="+", default=["padim-lite0"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    categories = list(counts.CATEGORIES) if a.categories == ["all"] else a.categories
    for name in categories:
        load_category(name)
    record = {"benchmark": "sweep", "recipes": a.recipes, "machine": machine("cpu")}
    with tempfile.TemporaryDirectory() as place:
        record |= measured(a.recipes, categories, a.ways, Path(place))
    print(json.dumps(record, indent=1))
    if a.out:
        a.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
