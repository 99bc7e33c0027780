"""What thresholds and exact p-values stop, over all categories of the twin or on a folder of one's own.

python benchmarks/thresholds.py [--categories cable ...] [--data ROOT] [--recipe padim-lite0] [--draws 3] [--out FILE]

A detector is fitted on some of a category's training images. Its threshold is the conformal quantile of their
leave-one-out scores; where they are few, exact p-values decide as well. Both then judge good images that the detector
has not seen (the other training images and the good test images) and the defective ones. Shares are means over draws
and over categories; "low" and "high" are the lowest and the highest category's. "Attainable" is the largest multiple
of 1 / (n + 1) that is at most the requested rate, or 1 / (n + 1) where there is none.
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
COUNTS = (10, 30, 0)  # training images; 0 for all
MOST_JUDGED = 60  # images that p-values are computed of, for each draw: good and defective each

Shares = dict[tuple[str, float], tuple[float, float]]  # (method, rate requested): good and defective images stopped


def shares(name: str, data: str, recipe_name: str, count: int, draws: int) -> Shares:
    """Means over draws of what a category's detectors of `count` images stop."""
    parts = load_category(name, data)
    labels = np.array([sample.label for sample in parts.test], dtype=bool)
    rows: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for draw in range(draws if count else 1):
        rng = np.random.default_rng(draw)
        order = rng.permutation(len(parts.train))
        learned, fresh = (np.sort(half) for half in np.split(order, [count or len(parts.train)]))
        detector = recipe(recipe_name, device="cpu").fit([parts.train[i] for i in learned])
        held_out = detector.held_out_scores([parts.train[i] for i in learned])
        good = [*(parts.train[i] for i in fresh), *(s for s in parts.test if not s.label)]
        bad = [sample for sample in parts.test if sample.label]
        assert labels.sum() == len(bad)
        scores = [detector.score(samples).scores for samples in (good, bad)]
        judged = {}
        if count:
            drawn = [
                [samples[i] for i in np.sort(rng.permutation(len(samples))[:MOST_JUDGED])] for samples in (good, bad)
            ]
            judged = {"p-values": [detector.p_values(samples) for samples in drawn]}
        for rate in RATES:
            limit = conformal(held_out, rate).value
            stopped = {"threshold": [(s > limit).mean() for s in scores]}
            stopped |= {way: [(p <= rate).mean() for p in values] for way, values in judged.items()}
            for way, (a, b) in stopped.items():
                rows.setdefault((way, rate), []).append((float(a), float(b)))
    return {key: (mean(g for g, _ in row), mean(d for _, d in row)) for key, row in rows.items()}


def main() -> None:
    """All categories, one number of images after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--categories", nargs="+", default=CATEGORIES)
    parser.add_argument("--data", default="twin:lite")
    parser.add_argument("--recipe", default="padim-lite0")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    rows = []
    for count in COUNTS:
        categories = {name: shares(name, a.data, a.recipe, count, a.draws) for name in a.categories}
        for way in ("threshold", "p-values") if count else ("threshold",):
            for rate in RATES:
                own = {name: stopped[way, rate] for name, stopped in categories.items()}
                good, defective = zip(*own.values(), strict=True)
                row = {"images": count or "all", "method": way, "requested": rate}
                if count:
                    row["attainable"] = max(int(rate * (count + 1) + 1e-9), way == "threshold") / (count + 1)
                values = {"good": mean(good), "low": min(good), "high": max(good), "defective": mean(defective)}
                row |= {key: round(value, 4) for key, value in values.items()}
                row["categories"] = {name: [round(g, 3), round(d, 3)] for name, (g, d) in own.items()}
                rows.append(row)
                print(json.dumps({key: value for key, value in row.items() if key != "categories"}), flush=True)
    record = {"benchmark": "thresholds", "data": a.data, "recipe": a.recipe, "draws": a.draws}
    record |= {"machine": machine("cpu"), "commit": commit(), "rows": rows}
    if a.out:
        a.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
