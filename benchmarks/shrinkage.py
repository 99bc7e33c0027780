"""What is added to the variances: the paper's 0.01 beside the rule of `padim.shrinkage`, on the same images.

python benchmarks/shrinkage.py [--screw FOLDER] [--images 16 0] [--out data/records/shrinkage.json]

Rows: `padim-lite0` on each category of the lite twin, and on a folder such as MVTec AD's screw where it is given;
fitted on the first so many good images (0 is all). The rule has nothing to tune; it was taken before this record was
made, after a first look at six categories of the twin. Differences are paired over images, and over categories in the
last row.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from padim_nb import evaluate, load_category
from padim_nb.evaluation.report import paired
from padim_nb.experiments.recipes import RECIPES
from padim_nb.padim.detector import PaDiM
from padim_nb.util.machine import commit, machine
from padim_nb.util.mvtec_counts import CATEGORIES

METRICS, FALSE_ALARM = ("image_auroc", "pixel_auroc"), 0.01


def row(name: str, root: str, images: int) -> dict[str, object]:
    """One category by both settings, with the differences rule - 0.01."""
    parts = load_category(name, root)
    train = parts.train[:images] if images else parts.train
    labels = np.array([sample.label for sample in parts.test], dtype=bool)
    reports, values = {}, {}
    for eps in (0.01, "oas"):
        settings = replace(RECIPES["padim-lite0"].settings, eps=eps)
        detector = PaDiM.from_settings(settings, "cpu").fit(train, FALSE_ALARM)
        maps = detector.score(parts.test)
        reports[eps] = evaluate(maps, parts.test)
        stopped = maps.scores > detector.threshold_.value
        values[str(eps)] = {
            "eps": round(detector.eps_, 4),
            **{metric: reports[eps].metrics[metric] for metric in METRICS},
            "good_stopped": float(stopped[~labels].mean()),
            "defects_stopped": float(stopped[labels].mean()),
        }
    known = [metric for metric in METRICS if metric in reports[0.01].draws]
    differences = {metric: asdict(paired(reports["oas"], reports[0.01], metric)) for metric in known}
    return {"category": name, "data": parts.source, "images": len(train), **values, "differences": differences}


def mean_of(rows: list[dict], seed: int = 0) -> dict[str, object]:
    """Means over categories, and intervals of the mean difference over categories drawn anew."""
    rng = np.random.default_rng(seed)
    means: dict[str, object] = {
        eps: {name: float(np.mean([row[eps][name] for row in rows])) for name in rows[0][eps]}
        for eps in ("0.01", "oas")
    }
    for metric in METRICS:
        gains = np.array([row["oas"][metric] - row["0.01"][metric] for row in rows])
        drawn = gains[rng.integers(0, len(gains), (2000, len(gains)))].mean(1)
        low, high = np.quantile(drawn, (0.025, 0.975))
        means[f"{metric}_gain"] = {"mean": float(gains.mean()), "low": float(low), "high": float(high)}
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--screw", type=Path, help="folder of one category of MVTec AD")
    parser.add_argument("--images", type=int, nargs="+", default=[16, 0])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows, means = [], []
    for images in options.images:
        twin = [row(name, "twin:lite", images) for name in CATEGORIES]
        means.append({"images": images, **mean_of(twin)})
        rows += twin
        if options.screw:
            rows.append(row(options.screw.name, str(options.screw.parent), images))
        print(json.dumps(means[-1], indent=1), flush=True)
    facts = {"about": __doc__.split("\n")[0], "machine": machine("cpu"), "commit": commit()}
    record = {**facts, "means": means, "rows": rows}
    text = json.dumps(record, indent=1)
    if options.out:
        options.out.write_text(text + "\n")
    print(text if not options.out else options.out)


if __name__ == "__main__":
    main()
