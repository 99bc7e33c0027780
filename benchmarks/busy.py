"""PaDiM on a shared machine: fitting and scoring a category with one thread and with two, beside a busy process.

python benchmarks/busy.py [--recipes NAME ...] [--category cable] [--images N] [--rounds 5] [--out FILE]

The neighbor spins on one core, and on a second one for a fifth of the time: 1.2 cores. Weights that are not installed
are random, images are in the cache from a first round on. One thread and two take turns in one process; ratios are of
medians. `background` is how many cores other processes took just before, without the neighbor: a quiet machine has
about 0.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from padim_nb import load_category
from padim_nb.experiments.recipes import RECIPES
from padim_nb.features.weights import LITE_FILES
from padim_nb.padim.detector import PaDiM
from padim_nb.util.machine import machine

RECIPES_MEASURED = ("padim-lite0", "padim-r18-rd100")
THREADS = (1, 2)
SPIN = """
import sys, time
share = float(sys.argv[1])
while True:
    end = time.perf_counter() + 0.1 * share
    while time.perf_counter() < end:
        pass
    time.sleep(0.1 * (1 - share))
"""


@contextmanager
def neighbor(cores: float) -> Iterator[None]:
    """Other processes that take so many cores."""
    shares = [1.0] * int(cores) + [cores % 1] * (cores % 1 > 0)
    children = [subprocess.Popen([sys.executable, "-c", SPIN, str(share)]) for share in shares]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


def background(seconds: float = 3.0) -> float | None:
    """How many cores all processes take while this one sleeps; None where the system does not say."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None

    def ticks() -> int:
        user, nice, system, _, _, *interrupts = map(int, stat.read_text().splitlines()[0].split()[1:8])
        return user + nice + system + sum(interrupts)

    before = ticks()
    time.sleep(seconds)
    return round((ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds, 2)


def rounds_of(name: str, train: list, test: list, rounds: int) -> dict:
    """Median seconds of `fit` and `score` with each number of threads."""
    settings = RECIPES[name].settings
    if settings.backbone not in LITE_FILES:
        settings = replace(settings, weights="random")
    detector = PaDiM.from_settings(settings, "cpu")
    seconds: dict[str, dict[int, list[float]]] = {task: {n: [] for n in THREADS} for task in ("fit", "score")}
    for _ in range(rounds):
        for threads in THREADS:
            torch.set_num_threads(threads)
            for task, samples in (("fit", train), ("score", test)):
                start = time.perf_counter()
                getattr(detector, task)(samples)
                seconds[task][threads].append(time.perf_counter() - start)
    rows = {}
    for task, of_threads in seconds.items():
        one, two = (statistics.median(of_threads[threads]) for threads in THREADS)
        ratio = round(two / min(one, two), 2)
        rows[task] = {"one thread": round(one, 2), "two threads": round(two, 2), "two beside the better": ratio}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="*", default=RECIPES_MEASURED)
    parser.add_argument("--category", default="cable")
    parser.add_argument(
        "--images", type=int, help="the first N of the training and of the test images; all unless given"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=float, default=1.2, help="what the neighbor takes")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    category = load_category(arguments.category)
    train, test = category.train[: arguments.images], category.test[: arguments.images]
    facts = {"category": arguments.category, "train": len(train), "test": len(test), "rounds": arguments.rounds}
    rows = []
    for name in arguments.recipes:
        rounds_of(name, train, test, 1)  # decodes the images, and loads what is loaded once
        for cores in (0.0, arguments.cores):
            before = background()
            with neighbor(cores):
                row = {"recipe": name, "neighbor": cores, "background": before}
                rows.append(row | rounds_of(name, train, test, arguments.rounds))
            print(json.dumps(rows[-1]), flush=True)
    if arguments.out:
        record = {**machine("cpu"), "cores": os.cpu_count(), "data": category.source, **facts, "rows": rows}
        record.pop("threads")
        arguments.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
