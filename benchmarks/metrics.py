"""All pixel metrics of a category: ours, scikit-learn, the 200-threshold shortcut; and what that does to AUPRO.

python benchmarks/metrics.py [--rounds 5] [--out data/records/metrics-cpu.json]

117 maps of 256 x 256 pixels, 90 with defects, made from noise. Everything runs in turn in one process: quote ratios of
medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, label
from sklearn.metrics import average_precision_score, roc_auc_score

from padim_nb.evaluation.metrics import EIGHT, Ranks, aupimo, overlap, rank_pixels

Array = np.ndarray


def example(seed: int = 0) -> tuple[Array, Array]:
    """Maps like a detector's, and masks: smooth noise, raised where a defect is, more for some defects than others."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((117, 256, 256), dtype=bool)
    maps = rng.normal(0, 1, masks.shape).astype(np.float32)
    for image in range(117):
        maps[image] = gaussian_filter(maps[image], 4) * 14
        for _ in range(rng.integers(1, 3) if image >= 27 else 0):
            y, x = rng.integers(8, 200, 2)
            height, width = rng.integers(6, 48, 2)
            masks[image, y : y + height, x : x + width] = True
            maps[image, y : y + height, x : x + width] += rng.uniform(0.5, 4)
    return maps, masks


def ours(maps: Array, masks: Array) -> dict[str, float]:
    normal, regions = rank_pixels(maps, masks)
    ranks = Ranks.of_sorted(normal, regions.scores)
    return {
        "pixel_auroc": ranks.auroc(),
        "pixel_ap": ranks.average_precision(),
        "pixel_f1max": ranks.best_f1()[0],
        "aupro": float(overlap(ranks, regions, 0.3).mean()),
        "aupro_05": float(overlap(ranks, regions, 0.05).mean()),
        "aupimo": float(np.nanmean(aupimo(maps, masks, ~masks.any(axis=(1, 2))))),
    }


def sklearns(maps: Array, masks: Array) -> dict[str, float]:
    labels, scores = masks.ravel(), maps.ravel()
    return {"pixel_auroc": roc_auc_score(labels, scores), "pixel_ap": average_precision_score(labels, scores)}


def shortcut(maps: Array, masks: Array, thresholds: int = 200, limit: float = 0.3) -> dict[str, float]:
    """AUPRO as many repositories have it: equidistant thresholds, points past the limit dropped, the rest rescaled."""
    regions = []
    for image in np.flatnonzero(masks.any(axis=(1, 2))):
        numbered, count = label(masks[image], EIGHT)
        regions += [maps[image][numbered == k + 1] for k in range(count)]
    normal = maps[~masks]
    rates, overlaps = [], []
    for threshold in np.linspace(maps.min(), maps.max(), thresholds):
        rates.append((normal > threshold).mean())
        overlaps.append(np.mean([(scores > threshold).mean() for scores in regions]))
    rates, overlaps = np.array(rates)[::-1], np.array(overlaps)[::-1]
    below = rates < limit
    x = rates[below] / max(rates[below].max(), 1e-12)
    return {"aupro": float(np.trapezoid(overlaps[below], x))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    maps, masks = example()
    ways = {"ours": ours, "scikit-learn, AUROC and AP only": sklearns, "200 thresholds, AUPRO only": shortcut}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way(maps, masks)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: round(statistics.median(values), 3) for name, values in seconds.items()}
    heavy = np.exp(1.5 * (maps - maps.mean()).astype(np.float64))
    result = {
        "maps": list(maps.shape),
        "median_seconds": medians,
        "aupro_exact": {"map": ours(maps, masks)["aupro"], "exp of the map": ours(heavy, masks)["aupro"]},
        "aupro_200_thresholds": {
            "map": shortcut(maps, masks)["aupro"],
            "exp of the map": shortcut(heavy, masks)["aupro"],
        },
    }
    print(json.dumps(result, indent=2))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
