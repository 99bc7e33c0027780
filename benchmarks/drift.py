"""How often a drift alarm is false, and how soon it notices a change of the images, over the twin's categories.

python benchmarks/drift.py [--categories cable ...] [--recipe padim-lite0] [--repeats 20] [--out FILE]

A detector learns from half of a category's training images. The others and the good test images are good parts that it
has not seen. "Run length": reference and stream are drawn, with replacement, from all these scores together, so that
nothing changes; parts for each false alarm. "As scored": the reference is the held-out scores, the stream the unseen
parts in a random order, a short one. "Changes": a hundred unseen parts, then as many of the same with one change;
parts after it until the alarm. The running median of fifteen scores above the 0.8 quantile of the held-out ones, which
the alarm has replaced, stands beside it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean, median

import numpy as np
from scipy.ndimage import gaussian_filter

from padim_nb import load_category, recipe
from padim_nb.data.images import image_batches
from padim_nb.evaluation.drift import DriftAlarm
from padim_nb.util.machine import commit, machine
from padim_nb.util.mvtec_counts import CATEGORIES

STREAM = 100_000  # good parts of each category
BEFORE = AFTER = 100  # parts around a change
WINDOW, QUANTILE = 15, 0.8  # of the running median


def _shifted(images: np.ndarray, pixels: int) -> np.ndarray:
    padded = np.pad(images, ((0, 0), (0, 0), (pixels, 0), (0, 0)), mode="edge")
    return padded[:, :, : images.shape[2]]


def _dimmed(images: np.ndarray, factor: float) -> np.ndarray:
    return np.rint(images * factor).astype(np.uint8)


def _blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    return np.rint(gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0))).astype(np.uint8)


CHANGES = {
    "shift 2 px": lambda images: _shifted(images, 2),
    "shift 4 px": lambda images: _shifted(images, 4),
    "shift 8 px": lambda images: _shifted(images, 8),
    "10 % darker": lambda images: _dimmed(images, 0.9),
    "20 % darker": lambda images: _dimmed(images, 0.8),
    "defocus 1 px": lambda images: _blurred(images, 1),
    "defocus 2 px": lambda images: _blurred(images, 2),
}


def false_alarms(reference: np.ndarray, stream: np.ndarray, run_length: float, seed: int) -> int:
    """How often the alarm is raised; it begins anew after each."""
    alarms, alarm = 0, DriftAlarm(reference, run_length, seed)
    for score in stream:
        if alarm.add(score):
            alarms += 1
            alarm = DriftAlarm(reference, run_length, seed + alarms)
    return alarms


def delay(reference: np.ndarray, stream: np.ndarray, run_length: float, seed: int) -> int | None:
    """Parts after `BEFORE` until the alarm; None for none, or one before the change."""
    alarm = DriftAlarm(reference, run_length, seed)
    first = next((number for number, score in enumerate(stream) if alarm.add(score)), None)
    return first - BEFORE + 1 if first is not None and first >= BEFORE else None


def medians(stream: np.ndarray) -> np.ndarray:
    """The running median, from the first full window on."""
    return np.median(np.lib.stride_tricks.sliding_window_view(stream, WINDOW), axis=1)


def median_alarms(reference: np.ndarray, stream: np.ndarray) -> int:
    """How often the running median's alarm is raised, which begins anew after each with a new window."""
    above = np.flatnonzero(medians(stream) > np.quantile(reference, QUANTILE))
    alarms, free = 0, 0
    for place in above:
        if place >= free:
            alarms, free = alarms + 1, place + WINDOW
    return alarms


def median_delay(reference: np.ndarray, stream: np.ndarray) -> int | None:
    """Parts after `BEFORE` until the running median's alarm; None for none, or one before the change."""
    above = np.flatnonzero(medians(stream) > np.quantile(reference, QUANTILE)) + WINDOW - 1
    return int(above[0]) - BEFORE + 1 if above.size and above[0] >= BEFORE else None


def measure(name: str, recipe_name: str, run_length: float, repeats: int) -> dict:
    """The row of a category."""
    parts = load_category(name, "twin:lite")
    rng = np.random.default_rng(0)
    learned, other = np.array_split(rng.permutation(len(parts.train)), 2)
    samples = [parts.train[i] for i in np.sort(learned)]
    unseen = [*(parts.train[i] for i in np.sort(other)), *(s for s in parts.test if not s.label)]
    detector = recipe(recipe_name, device="cpu").fit(samples)
    held_out = detector.held_out_scores(samples)
    images = np.concatenate(list(image_batches(unseen, detector.settings.frame)))
    scores = detector.score_images(images).scores
    pool = np.concatenate([held_out, scores])
    reference, stream = rng.choice(pool, len(held_out)), rng.choice(pool, STREAM)
    orders = [rng.permutation(scores) for _ in range(repeats)]
    row = {
        "category": name,
        "held-out": len(held_out),
        "unseen": len(scores),
        "false alarms": false_alarms(reference, stream, run_length, 0),
        "false alarms, median": median_alarms(reference, stream),
        "as scored, parts": sum(map(len, orders)),
        "as scored, false alarms": sum(false_alarms(held_out, order, run_length, n) for n, order in enumerate(orders)),
        "as scored, false alarms, median": sum(median_alarms(held_out, order) for order in orders),
        "changes": {},
    }
    for change, changed in CHANGES.items():
        after = detector.score_images(changed(images)).scores
        streams = [np.concatenate([rng.choice(scores, BEFORE), rng.choice(after, AFTER)]) for _ in range(repeats)]
        delays = {
            "alarm": [delay(held_out, stream, run_length, n) for n, stream in enumerate(streams)],
            "median": [median_delay(held_out, stream) for stream in streams],
        }
        entry: dict = {"score, changed / unchanged": round(float(np.median(after) / np.median(scores)), 3)}
        for way, parts_until in delays.items():
            noticed = sorted(parts for parts in parts_until if parts is not None)
            share = len(noticed) / repeats
            entry[way] = {"noticed": share, "parts": median(noticed) if share > 0.5 else None}
        row["changes"][change] = entry
    return row


def summary(rows: list[dict]) -> dict:
    """All categories together."""
    parts, short = STREAM * len(rows), sum(row["as scored, parts"] for row in rows)
    result: dict = {"good parts": parts, "as scored, good parts": short}
    for way, key in (("alarm", "false alarms"), ("median", "false alarms, median")):
        alarms = sum(row[key] for row in rows)
        result[f"parts for each false alarm, {way}"] = round(parts / alarms) if alarms else None
        result[f"as scored, {key}"] = sum(row[f"as scored, {key}"] for row in rows)
    result["changes"] = {}
    for change in CHANGES:
        entry: dict = {}
        for way in ("alarm", "median"):
            of_change = [row["changes"][change][way] for row in rows]
            noticed = [entry["parts"] for entry in of_change if entry["parts"] is not None]
            entry[way] = {
                "noticed": round(mean(entry["noticed"] for entry in of_change), 3),
                "categories": len(noticed),
                "parts": median(noticed) if noticed else None,
            }
        entry["not noticed"] = [row["category"] for row in rows if row["changes"][change]["alarm"]["parts"] is None]
        result["changes"][change] = entry
    return result


def main() -> None:
    """One category after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--categories", nargs="+", default=CATEGORIES)
    parser.add_argument("--recipe", default="padim-lite0")
    parser.add_argument("--run-length", type=float, default=10_000)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.categories:
        rows.append(measure(name, arguments.recipe, arguments.run_length, arguments.repeats))
        print(json.dumps(rows[-1]), flush=True)
    record: dict = {"benchmark": "drift", "data": "twin:lite", "recipe": arguments.recipe, "repeats": arguments.repeats}
    record |= {"run length": arguments.run_length, "machine": machine("cpu"), "commit": commit()}
    record |= {"summary": summary(rows), "rows": rows}
    print(json.dumps(record["summary"], indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
