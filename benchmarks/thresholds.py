"""What a threshold from folds of good images stops, over all categories of the twin.

python benchmarks/thresholds.py [--categories cable ...] [--recipe padim-lite0] [--draws 3] [--out FILE]

A detector learns from some of a category's training images, its threshold is set from the same images, each scored by
a model without its fold. It then judges good images that it has not seen (the other training images and the good test
images) and the defective ones. Shares are means over categories and draws; "low" and "high" are the lowest and the
highest category's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean

import numpy as np

from padim_nb import load_category, recipe
from padim_nb.evaluation.thresholds import conformal
from padim_nb.util.machine import commit, machine
from padim_nb.util.mvtec_counts import CATEGORIES

RATES = (0.2, 0.1, 0.05, 0.01)
COUNTS = (10, 30, 0)  # images that are learned from; 0 for all


def shares(name: str, recipe_name: str, count: int, draws: int) -> dict[float, tuple[float, float]]:
    """For each rate asked, the shares of good and of defective images that are stopped, means of the draws."""
    parts = load_category(name, "twin:lite")
    test = parts.test
    labels = np.array([sample.label for sample in test], dtype=bool)
    rows: dict[float, list[tuple[float, float]]] = {rate: [] for rate in RATES}
    for draw in range(draws if count else 1):
        order = np.random.default_rng(draw).permutation(len(parts.train))
        learned, fresh = (np.sort(half) for half in np.split(order, [count or len(parts.train)]))
        detector = recipe(recipe_name, device="cpu").fit([parts.train[i] for i in learned])
        held_out = detector.held_out_scores([parts.train[i] for i in learned])
        scores = detector.score(test).scores
        good = scores[~labels]
        if len(fresh):
            good = np.concatenate([good, detector.score([parts.train[i] for i in fresh]).scores])
        for rate in RATES:
            limit = conformal(held_out, rate).value
            rows[rate].append((float((good > limit).mean()), float((scores[labels] > limit).mean())))
    return {rate: (mean(g for g, _ in row), mean(d for _, d in row)) for rate, row in rows.items()}


def main() -> None:
    """All categories, one number of images after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--categories", nargs="+", default=CATEGORIES)
    parser.add_argument("--recipe", default="padim-lite0")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = []
    for count in COUNTS:
        categories = [shares(name, arguments.recipe, count, arguments.draws) for name in arguments.categories]
        for rate in RATES:
            good, defective = zip(*(row[rate] for row in categories), strict=True)
            stopped = {"good": mean(good), "low": min(good), "high": max(good), "defective": mean(defective)}
            row = {"images": count or "all", "asked": rate, "stopped": {k: round(v, 4) for k, v in stopped.items()}}
            rows.append(row)
            print(json.dumps(row), flush=True)
    record = {"benchmark": "thresholds", "data": "twin:lite", "recipe": arguments.recipe, "draws": arguments.draws}
    record |= {"categories": len(arguments.categories), "machine": machine("cpu"), "commit": commit(), "rows": rows}
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
