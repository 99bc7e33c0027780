"""What papermill and Dask add to a run, and what a second worker saves.

python benchmarks/sweep.py [--categories bottle cable ...] [--recipe padim-noisenet] [--out data/records/sweep.json]

Four ways through the same runs, one after the other: the notebook's cells as a plain script in a Python of its own; a
sweep with one worker, which has all cores; a sweep with two, which share them; and a sweep with one worker that may use
half of the cores, as much as each of the two had. The twin is rendered beforehand.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import nbformat

from padim_nb.mvtec import load_category
from padim_nb.provenance import machine
from padim_nb.runs import Settings, template
from padim_nb.sweep import plan, sweep

CATEGORIES = ("bottle", "cable", "carpet", "grid", "leather", "pill", "screw", "zipper")


def as_script(settings: Settings) -> str:
    """The notebook's code with these settings in place of its parameters."""
    cells = [cell for cell in nbformat.read(template(), 4).cells if cell.cell_type == "code"]
    given = f"category, recipe, out = {settings.category!r}, {settings.recipe!r}, {settings.out!r}"
    return "\n\n".join(
        cell.source + ("\n" + given if "parameters" in cell.metadata.get("tags", ()) else "") for cell in cells
    )


def plain(settings: Settings) -> float:
    """Seconds of one run without papermill, Dask or pictures on a page."""
    script = settings.folder / "run.py"
    script.parent.mkdir(parents=True)
    script.write_text(as_script(settings))
    start = time.perf_counter()
    environment = os.environ | {"MPLBACKEND": "agg"}
    subprocess.run([sys.executable, script], cwd=script.parent, env=environment, stdout=subprocess.DEVNULL, check=True)
    seconds = time.perf_counter() - start
    assert (settings.folder / "record.json").is_file()
    return seconds


def swept(recipe: str, categories: list[str], out: Path, workers: int) -> tuple[float, list[float]]:
    """Seconds of the whole sweep, and of each run in it, in the order of the categories."""
    start = time.perf_counter()
    outcomes = sweep(plan([recipe], categories, [-1], out), out, workers)
    whole = time.perf_counter() - start
    assert all(each.state == "done" for each in outcomes)
    seconds = {each.settings.category: each.seconds for each in outcomes}
    return whole, [seconds[name] for name in categories]


@contextmanager
def half_of_the_cores() -> Iterator[None]:
    """This process and all that it starts."""
    every = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, every[: max(1, len(every) // 2)])
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--categories", nargs="+", default=list(CATEGORIES))
    parser.add_argument("--recipe", default="padim-noisenet")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    for name in arguments.categories:
        load_category(name)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        alone = [plain(each) for each in plan([arguments.recipe], arguments.categories, [-1], root / "plain")]
        one, each_one = swept(arguments.recipe, arguments.categories, root / "one", 1)
        two, each_two = swept(arguments.recipe, arguments.categories, root / "two", 2)
        with half_of_the_cores():
            half, each_half = swept(arguments.recipe, arguments.categories, root / "half", 1)
    more = [run - bare for run, bare in zip(each_one, alone, strict=True)]
    told = {
        "benchmark": "sweep",
        "recipe_run": arguments.recipe,
        "machine": machine("cpu"),
        "runs": len(alone),
        "seconds a run": {
            "plain script": round(median(alone), 2),
            "one worker": round(median(each_one), 2),
            "two workers": round(median(each_two), 2),
            "one worker, half of the cores": round(median(each_half), 2),
        },
        "seconds papermill and Dask add to a run": round(median(more), 2),
        "seconds of the sweep": {
            "one worker": round(one, 1),
            "two workers": round(two, 1),
            "one worker, half of the cores": round(half, 1),
        },
        "two workers / one": round(two / one, 3),
        "two workers / one with half of the cores": round(two / half, 3),
    }
    print(json.dumps(told, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
