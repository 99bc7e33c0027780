"""How hard is the twin? Detectors on it, beside what the same detectors reach on MVTec AD.

python benchmarks/twin.py --weights RESNET18 [--recipes padim-r18-rd100] [--kind full] [--categories cable screw]
                          [--real FOLDER] [--out data/records/twin-calibration.json]

`padim-r18-rd100` with ImageNet's ResNet-18, seed 1024: the constants of the twin's categories were set by its published
row (image and pixel AUROC, full counts) and by no other. Any other recipe with a published row is a prediction:
`padim-r18-anomalib` runs another protocol on the same network. `--real` is a folder such as one MVTec AD category, the
screw: recipes are then measured on it and on the twin's screw, side by side, by images only.

With `--out` the rows are added to the file's, so that a long measurement can be done in parts.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from padim_nb import evaluate, load_category, recipe
from padim_nb.experiments.published import row
from padim_nb.experiments.recipes import RECIPES
from padim_nb.twin.store import version
from padim_nb.util.mvtec_counts import CATEGORIES

CALIBRATED_BY = "padim-r18-rd100"
METRICS = ("image_auroc", "pixel_auroc")
DRAWS = 1000  # of the bootstrap over categories


def measure(name: str, category: str, kind: str, weights: str) -> dict:
    """A recipe's figures on one category of the twin, and the published ones."""
    start = time.perf_counter()
    samples = load_category(category, f"twin:{kind}")
    detector = recipe(name, weights=weights if "r18" in name else None)
    detector.fit(samples.train)
    report = evaluate(detector.score(samples.test), samples.test)
    rows = {metric: row(RECIPES[name].source, metric, RECIPES[name].row) for metric in METRICS}
    return {
        "recipe": name,
        "kind": kind,
        "category": category,
        "renderer": version(category),
        "weights": detector.weights,
        "images": {"train": len(samples.train), "test": len(samples.test)},
        "published": {metric: stated.values.get(category) if stated else None for metric, stated in rows.items()},
        "measured": {metric: round(report.metrics[metric], 4) for metric in METRICS},
        "per_defect": {d.defect: [round(d.image_auroc, 3), round(d.pixel_auroc, 3)] for d in report.per_defect},
        "seconds": round(time.perf_counter() - start, 1),
    }


def agreement(rows: list[dict], metric: str) -> dict:
    """How near the measured figures are to the published ones, over categories."""
    pairs = [(line["measured"][metric], line["published"][metric]) for line in rows]
    measured, stated = np.array([pair for pair in pairs if pair[1] is not None]).T
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(stated), size=len(stated)) for _ in range(DRAWS)]
    with np.errstate(invalid="ignore"):
        spread = np.nanquantile([spearmanr(measured[d], stated[d])[0] for d in draws], (0.025, 0.975))
    return {
        "mean absolute difference": round(float(np.abs(measured - stated).mean()), 4),
        "rank correlation": round(float(spearmanr(measured, stated)[0]), 3),
        "95% interval": [round(float(bound), 3) for bound in spread],
        "categories": len(stated),
    }


def side_by_side(real: Path, names: list[str], weights: str) -> list[dict]:
    """Image AUROC of recipes on a real category and on the twin's, its counts as in the real one."""
    rows = []
    for name in names:
        for data, samples in (("real", load_category(real.name, real)), ("twin", load_category("screw", "twin:full"))):
            detector = recipe(name, weights=weights if "r18" in name else None)
            detector.fit(samples.train)
            report = evaluate(detector.score(samples.test), samples.test)
            rows.append({"recipe": name, "data": data, "image_auroc": round(report.metrics["image_auroc"], 4)})
            print(f"{name:<20} {data:<5} {rows[-1]['image_auroc']:.3f}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="ImageNet's ResNet-18, a file")
    parser.add_argument("--recipes", nargs="+", default=[CALIBRATED_BY])
    parser.add_argument("--kind", default="full", choices=("full", "lite"))
    parser.add_argument("--categories", nargs="+", default=list(CATEGORIES))
    parser.add_argument("--real", type=Path, help="a folder of one real category, the screw")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    record = json.loads(a.out.read_text()) if a.out and a.out.exists() else {"calibrated by": CALIBRATED_BY, "rows": []}
    if a.real:
        record["screw, real and twin"] = side_by_side(a.real, a.recipes, a.weights)
    else:
        print(
            f"{'category':<12} {'image':>6} {'publ.':>6} {'diff':>6}   {'pixel':>6} {'publ.':>6} {'diff':>6}  by defect"
        )
        for name in a.recipes:
            for category in a.categories:
                figures = measure(name, category, a.kind, a.weights)
                key = (name, a.kind, category)
                others = [r for r in record["rows"] if (r["recipe"], r["kind"], r["category"]) != key]
                record["rows"] = [*others, figures]
                _print(figures)
    record["agreement"] = {}
    for name, kind in dict.fromkeys((r["recipe"], r["kind"]) for r in record["rows"]):
        rows = [r for r in record["rows"] if (r["recipe"], r["kind"]) == (name, kind)]
        if len(rows) > 2:
            for metric in METRICS:
                record["agreement"][f"{name}, {kind}, {metric}"] = agreement(rows, metric)
                print(name, kind, metric, record["agreement"][f"{name}, {kind}, {metric}"])
    if a.out:
        a.out.write_text(json.dumps(record, indent=1) + "\n")


def _print(figures: dict) -> None:
    cells = []
    for metric in METRICS:
        value, stated = figures["measured"][metric], figures["published"][metric]
        cells.append(f"{value:6.3f} {stated:6.3f} {value - stated:+6.3f}" if stated else f"{value:6.3f}")
    defects = "  ".join(f"{name} {image:.2f} {pixel:.2f}" for name, (image, pixel) in figures["per_defect"].items())
    print(f"{figures['category']:<12} {'   '.join(cells)}  {defects}", flush=True)


if __name__ == "__main__":
    main()
