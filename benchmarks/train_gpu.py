"""EfficientAD trained in full on a GPU, in calls of a few minutes: each goes on where the last one ended.

python benchmarks/train_gpu.py [--minutes 9] [--weights shipped] [--data ROOT] [--out data/records/gpu-efficientad]

First `efficientad-s` with its 70,000 steps, category after category, then `efficientad-lite` on all categories with
three seeds. Each run has a process of its own that ends when the minutes are over; its checkpoint is written every
half minute, and the next call resumes there. A record is written as soon as its run is done. Give the command (or
`make gpu`) again until all are done. The teacher is the shipped one unless `--weights` names another: see the record.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from padim_nb import evaluate, load_category
from padim_nb.efficientad.detector import EfficientAD
from padim_nb.errors import PadimError
from padim_nb.experiments.costs import price
from padim_nb.experiments.run import RunSettings, Stopwatch, detector_of, write_record
from padim_nb.experiments.sweep import complete, plan
from padim_nb.util.files import ensure_dir
from padim_nb.util.machine import gpus
from padim_nb.util.mvtec_counts import CATEGORIES

SEEDS = (0, 1, 2)
CHECKPOINT = 0.5  # minutes between two
LEAST = 20.0  # seconds: with less left no run is begun


def wanted(out: Path, weights: str, data: str, device: str, steps: int = 0, categories: Sequence[str] = CATEGORIES):
    """All runs in their order; `steps` in place of the recipes' own is for tests."""
    common = {"data": data, "device": device, "steps": steps}
    return [
        *plan(["efficientad-s"], categories, [-1], out, weights=weights, **common),
        *plan(["efficientad-lite"], categories, SEEDS, out, **common),
    ]


def train(settings: RunSettings) -> Path:
    """One run without a notebook: fit, from the checkpoint where there is one, score, evaluate; the record's path."""
    ensure_dir(settings.folder)
    parts = load_category(settings.category, settings.data or None)
    detector, watch = detector_of(settings, parts), Stopwatch()
    assert isinstance(detector, EfficientAD)
    detector.minutes = CHECKPOINT
    with watch("fit"):
        detector.fit(parts.train, false_alarm=0.01)
    with watch("score"):
        maps = detector.score(parts.test)
    with watch("evaluate"):
        report = evaluate(maps, parts.test)
    return write_record(settings, parts, detector, report, watch)


def in_a_process(settings: RunSettings, seconds: float) -> bool:
    """Train in a process that has so many seconds; whether it is done. PadimError with its last line if it fails."""
    command = [sys.executable, __file__, "--child", json.dumps(asdict(settings))]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        _, errors = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)  # its checkpoint is whole at any moment
        child.communicate()
        return False
    if child.returncode:
        raise PadimError(f"{settings.category} x {settings.recipe}: {(errors.splitlines() or ['no message'])[-1]}")
    return True


def spend(
    runs: Sequence[RunSettings],
    minutes: float,
    start: Callable[[RunSettings, float], bool] = in_a_process,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Do what is not done yet, for so many minutes; returns how many runs are left."""
    end = clock() + 60 * minutes
    left = [run for run in runs if complete(run) is None]
    while left and end - clock() > LEAST:
        if not start(left[0], end - clock()):
            break
        print(complete(left.pop(0)), flush=True)
    return len(left)


def main(argv: Sequence[str] | None = None, device: str = "cuda", steps: int = 0, categories=CATEGORIES) -> int:
    """The exit code; `device`, `steps` and `categories` are for tests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=9.0, help="of this call")
    parser.add_argument("--weights", default="shipped", help="efficientad-s's teacher")
    parser.add_argument("--data", default="", help="data root (default: MVTec AD where it is, else the twin)")
    parser.add_argument("--out", type=Path, default=Path("data/records/gpu-efficientad"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    a = parser.parse_args(argv)
    try:
        if a.child:
            print(train(RunSettings(**json.loads(a.child))))
            return 0
        if device == "cuda" and not gpus():
            print(f"no GPU here: without one, 70,000 steps take {price('efficientad-s')}", file=sys.stderr)
            return 2
        runs = wanted(a.out, a.weights, a.data, device, steps, categories)
        left = spend(runs, a.minutes)
    except PadimError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(runs) - left} of {len(runs)} runs are done" + ("; give the command again" if left else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
