"""What a region of interest is worth where a part lies on a ground that is not judged.

python benchmarks/roi.py [--categories hazelnut ...] [--recipe padim-lite0] [--draws 5] [--out FILE]

The region is drawn from good training images alone, before any score is seen: the pixels where at least one image in
twenty is brighter than half way between the ground (the image's border) and the part (the image's middle). In each draw
half of the training images are learned; the others and the good test images are good parts that the detector has not
seen. The threshold requests 5 %. "Outside": good and defective images, the largest value of whose map without a region
lies outside of it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from padim_nb import load_category, recipe
from padim_nb.data.images import image_batches, masks
from padim_nb.data.maps import AnomalyMaps
from padim_nb.data.mvtec import Category, header
from padim_nb.evaluation.metrics import auroc
from padim_nb.experiments.recipes import settings_of
from padim_nb.util.machine import commit, machine

RATE = 0.05
SHARE = 0.05  # of the training images, in which a pixel shows the part


def region(parts: Category, recipe_name: str) -> np.ndarray:
    """Where the part lies in the training images, bool (height, width) in the recipe's frame."""
    images = np.concatenate(list(image_batches(parts.train, settings_of(recipe_name).frame)))
    gray = images.mean(axis=-1)
    height, width = gray.shape[1:]
    border = np.concatenate([gray[:, :8].ravel(), gray[:, -8:].ravel()])
    middle = gray[:, height // 2 - 16 : height // 2 + 16, width // 2 - 16 : width // 2 + 16]
    level = (np.median(border) + np.median(middle)) / 2
    return (gray > level).mean(axis=0) >= SHARE


def judged(roi: Path | str, recipe_name: str, parts: Category, learned: np.ndarray) -> tuple[AnomalyMaps, float]:
    """The maps of all parts that were not learned, the good ones first, and the threshold."""
    samples = [parts.train[i] for i in np.flatnonzero(learned)]
    others = [parts.train[i] for i in np.flatnonzero(~learned)]
    detector = recipe(recipe_name, device="cpu", roi=roi).fit(samples, RATE)
    return detector.score([*others, *parts.test]), detector.threshold_.value


def measure(name: str, recipe_name: str, draws: int, folder: Path) -> dict:
    """The row of a category."""
    parts = load_category(name, "twin:lite")
    roi = region(parts, recipe_name)
    path = folder / f"{name}.png"
    Image.fromarray(roi).resize(header(parts.train[0].image), Image.Resampling.NEAREST).save(path)
    truth = masks(parts.test, settings_of(recipe_name).frame)
    ways: dict[str, list[dict]] = {"all of the image": [], "region": []}
    outside = {"good": [], "defective": []}
    rng = np.random.default_rng(0)
    for _ in range(draws):
        learned = np.zeros(len(parts.train), dtype=bool)
        learned[rng.permutation(len(parts.train))[: len(parts.train) // 2]] = True
        labels = np.array([0] * int((~learned).sum()) + [sample.label for sample in parts.test])
        kinds = np.array(["good"] * int((~learned).sum()) + [sample.defect for sample in parts.test])
        for way, file in zip(ways, ("", path), strict=True):
            maps, threshold = judged(file, recipe_name, parts, learned)
            stopped = maps.scores > threshold
            row: dict = {"image_auroc": auroc(maps.scores, labels), "good stopped": stopped[labels == 0].mean()}
            row["defects stopped"] = stopped[labels == 1].mean()
            row |= {kind: stopped[kinds == kind].mean() for kind in dict.fromkeys(kinds[labels == 1])}
            ways[way].append(row)
            if not file:
                far = [not roi[np.unravel_index(map_.argmax(), map_.shape)] for map_ in maps.maps]
                for kind, label in (("good", 0), ("defective", 1)):
                    outside[kind].append(np.mean(np.array(far)[labels == label]))
    row = {"category": name, "learned": len(parts.train) // 2, "good": int((labels == 0).sum())}
    row |= {"defective": int(labels.sum()), "region, share of the image": round(float(roi.mean()), 3)}
    row["marked pixels in the region"] = round(float(truth[:, roi].sum() / truth.sum()), 4)
    row |= {f"outside, {kind}": round(float(np.mean(shares)), 4) for kind, shares in outside.items()}
    row |= {
        way: {key: round(float(np.mean([r[key] for r in rows])), 4) for key in rows[0]} for way, rows in ways.items()
    }
    return row


def main() -> None:
    """One category after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--categories", nargs="+", default=["hazelnut"])
    parser.add_argument("--recipe", default="padim-lite0")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in a.categories:
            rows.append(measure(name, a.recipe, a.draws, Path(folder)))
            print(json.dumps(rows[-1], indent=1), flush=True)
    record = {"benchmark": "roi", "data": "twin:lite", "recipe": a.recipe, "rate": RATE, "draws": a.draws}
    record |= {"machine": machine("cpu"), "commit": commit(), "rows": rows}
    if a.out:
        a.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
