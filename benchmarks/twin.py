"""How hard is the twin? One detector on it, beside what the same detector reaches on MVTec AD.

python benchmarks/twin.py --weights resnet18.safetensors [--kind full] [--categories cable screw] [--out FILE]

The detector is `padim-r18-rd100` with ImageNet's ResNet-18, the seed 1024 and the frame of its published row. This row,
image and pixel AUROC, is what the constants of the twin's categories were set by; no other row was looked at.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from padim_nb import evaluate, load_category, recipe
from padim_nb.counts import CATEGORIES
from padim_nb.published import row
from padim_nb.twin.store import version

RECIPE, SOURCE, ROW = "padim-r18-rd100", "padim-efficientnet-pytorch", "R18-Rd100"


def measure(category: str, kind: str, weights: str) -> dict:
    """The detector's figures on one category of the twin, and the published ones."""
    start = time.perf_counter()
    samples = load_category(category, f"twin:{kind}")
    detector = recipe(RECIPE, weights=weights)
    detector.fit(samples.train)
    report = evaluate(detector.score(samples.test), samples.test)
    stated = {name: row(SOURCE, name, ROW).values[category] for name in ("image_auroc", "pixel_auroc")}
    return {
        "renderer": version(category),
        "images": {"train": len(samples.train), "test": len(samples.test)},
        "published": stated,
        "measured": {name: round(report.metrics[name], 4) for name in stated},
        "per_defect": {each.defect: [round(each.image_auroc, 3), round(each.pixel_auroc, 3)] for each in report.per_defect},
        "seconds": round(time.perf_counter() - start, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="ImageNet's ResNet-18, a file")
    parser.add_argument("--kind", default="full", choices=("full", "lite"))
    parser.add_argument("--categories", nargs="+", default=list(CATEGORIES))
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    rows = {}
    print(f"{'category':<12} {'image':>6} {'publ.':>6} {'diff':>6}   {'pixel':>6} {'publ.':>6} {'diff':>6}  by defect (image, pixel)")
    for category in a.categories:
        rows[category] = found = measure(category, a.kind, a.weights)
        cells = []
        for name in ("image_auroc", "pixel_auroc"):
            got, stated = found["measured"][name], found["published"][name]
            cells.append(f"{got:6.3f} {stated:6.3f} {got - stated:+6.3f}")
        defects = "  ".join(f"{name} {image:.2f} {pixel:.2f}" for name, (image, pixel) in found["per_defect"].items())
        print(f"{category:<12} {'   '.join(cells)}  {defects}", flush=True)
    if len(rows) > 2:
        from scipy.stats import spearmanr

        for name in ("image_auroc", "pixel_auroc"):
            got = np.array([found["measured"][name] for found in rows.values()])
            stated = np.array([found["published"][name] for found in rows.values()])
            print(f"{name}: mean absolute difference {np.abs(got - stated).mean():.4f}, rank correlation {spearmanr(got, stated)[0]:.2f}")
    if a.out:
        a.out.write_text(json.dumps({"kind": a.kind, "recipe": RECIPE, "row": ROW, "categories": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
