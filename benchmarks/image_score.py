"""What the image score is worth: the maximum of a map, or the mean of a share of its largest values.

python benchmarks/image_score.py [--categories cable ...] [--data ROOT] [--recipe padim-lite0] [--out FILE]

Each category is fitted once; its maps give image AUROC for each score, with a bootstrap interval over images, and the
shares of good and of defective images above the leave-one-out threshold for 5 %. Of defects with a mask,
small ones (less than 1 % of the image) are counted apart.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from padim_nb import load_category, recipe
from padim_nb.data.images import masks
from padim_nb.evaluation.thresholds import conformal
from padim_nb.padim.smoothing import image_scores
from padim_nb.util.machine import commit, machine
from padim_nb.util.mvtec_counts import CATEGORIES

SCORES: tuple[str | float, ...] = ("max", 0.01, 0.03, 0.1)
RATE = 0.05
SMALL = 0.01  # of the image's pixels
DRAWS = 1000


def interval(labels: np.ndarray, scores: np.ndarray) -> list[float]:
    """95 % interval of the AUROC over draws of images, good and defective ones drawn apart."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(DRAWS):
        drawn = np.concatenate([rng.choice(np.flatnonzero(labels == kind), (labels == kind).sum()) for kind in (0, 1)])
        values.append(roc_auc_score(labels[drawn], scores[drawn]))
    return [round(float(value), 4) for value in np.quantile(values, (0.025, 0.975))]


def rows_of(name: str, data: str, recipe_name: str) -> list[dict[str, object]]:
    """One row for each image score."""
    parts = load_category(name, data)
    labels = np.array([sample.label for sample in parts.test])
    detector = recipe(recipe_name, device="cpu").fit(parts.train)
    held_out, maps = (
        torch.from_numpy(m.maps) for m in (detector.leave_one_out(parts.train), detector.score(parts.test))
    )
    sizes = masks(parts.test, detector.settings.frame).mean((1, 2)) if parts.has_masks else None
    rows = []
    for score in SCORES:
        scores, limit = image_scores(maps, score).numpy(), conformal(image_scores(held_out, score).numpy(), RATE).value
        row: dict[str, object] = {"category": name, "score": score}
        row["image_auroc"] = round(float(roc_auc_score(labels, scores)), 4)
        row["interval"] = interval(labels, scores)
        row["good stopped"] = round(float((scores[labels == 0] > limit).mean()), 4)
        row["defects stopped"] = round(float((scores[labels == 1] > limit).mean()), 4)
        if sizes is not None:
            for size, own in (("small", (labels == 1) & (sizes < SMALL)), ("large", (labels == 1) & (sizes >= SMALL))):
                row[f"{size} defects"] = int(own.sum())
                row[f"{size} stopped"] = round(float((scores[own] > limit).mean()), 4) if own.any() else None
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def main() -> None:
    """All categories, one after the other, and the means over them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--categories", nargs="+", default=CATEGORIES)
    parser.add_argument("--data", default="twin:lite")
    parser.add_argument("--name", help="of the data, in the record")
    parser.add_argument("--recipe", default="padim-lite0")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    rows = [row for name in a.categories for row in rows_of(name, a.data, a.recipe)]
    means = {
        str(score): round(float(np.mean([row["image_auroc"] for row in rows if row["score"] == score])), 4)
        for score in SCORES
    }
    print(json.dumps(means), flush=True)
    record = {"benchmark": "image_score", "data": a.name or a.data, "recipe": a.recipe, "rate": RATE, "mean": means}
    record |= {"machine": machine("cpu"), "commit": commit(), "rows": rows}
    if a.out:
        a.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
