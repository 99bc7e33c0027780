"""What a threshold from folds of good images stops, over all categories of the twin.

python benchmarks/thresholds.py [--categories cable ...] [--recipe padim-lite0] [--draws 3] [--out FILE]

A detector learns from some of a category's training images, its threshold is set from the same images, each scored by
a model without its fold. It then judges good images that it has not seen (the other training images and the good test
images) and the defective ones. Shares are means over categories and draws; "low" and "high" are the lowest and the
highest category's. "Same" is the threshold from folds whose models add as much to their variances as the model of all
images does, rather than what the recipe's rule reads off their own images.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np

from padim_nb import load_category, recipe
from padim_nb.evaluation.thresholds import conformal
from padim_nb.padim.detector import PaDiM
from padim_nb.util.machine import commit, machine
from padim_nb.util.mvtec_counts import CATEGORIES

RATES = (0.2, 0.1, 0.05, 0.01)
COUNTS = (10, 30, 0)  # images that are learned from; 0 for all
WAYS = {"own": "stopped", "same": "stopped, same"}


def shares(name: str, recipe_name: str, count: int, draws: int) -> dict[tuple[str, float], tuple[float, float]]:
    """For (way, rate asked) the shares of good and of defective images that are stopped, means of the draws."""
    parts = load_category(name, "twin:lite")
    test = parts.test
    labels = np.array([sample.label for sample in test], dtype=bool)
    rows: dict[tuple[str, float], list[tuple[float, float]]] = {(way, rate): [] for way in WAYS for rate in RATES}
    for draw in range(draws if count else 1):
        order = np.random.default_rng(draw).permutation(len(parts.train))
        learned, fresh = (np.sort(half) for half in np.split(order, [count or len(parts.train)]))
        good_images = [parts.train[i] for i in learned]
        detector = recipe(recipe_name, device="cpu").fit(good_images)
        fixed = PaDiM(replace(detector.settings, eps=detector.eps_), detector.backbone).fit(good_images)
        held_out = {"own": detector.held_out_scores(good_images), "same": fixed.held_out_scores(good_images)}
        scores = detector.score(test).scores
        good = scores[~labels]
        if len(fresh):
            good = np.concatenate([good, detector.score([parts.train[i] for i in fresh]).scores])
        for way, rate in rows:
            limit = conformal(held_out[way], rate).value
            rows[way, rate].append((float((good > limit).mean()), float((scores[labels] > limit).mean())))
    return {key: (mean(g for g, _ in row), mean(d for _, d in row)) for key, row in rows.items()}


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
            row = {"images": count or "all", "asked": rate}
            for way, title in WAYS.items():
                good, defective = zip(*(stopped[way, rate] for stopped in categories), strict=True)
                values = {"good": mean(good), "low": min(good), "high": max(good), "defective": mean(defective)}
                row[title] = {name: round(value, 4) for name, value in values.items()}
            rows.append(row)
            print(json.dumps(row), flush=True)
    record = {"benchmark": "thresholds", "data": "twin:lite", "recipe": arguments.recipe, "draws": arguments.draws}
    record |= {"categories": len(arguments.categories), "machine": machine("cpu"), "commit": commit(), "rows": rows}
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
