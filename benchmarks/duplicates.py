"""Whether photographs of one part among training images are noticed, and independent images are left in peace.

python benchmarks/duplicates.py [--categories cable ...] [--data ROOT] [--name NAME] [--out FILE]

"alone" are a category's training images as they are: all of them, and DRAWS draws of thirty. "photographed" are PARTS
of them photographed SHOTS times each, and twice as many photographed twice: moved by up to two pixels of 256 in any
direction, up to 10 % darker or brighter, with sensor noise of three gray levels. Each figure is the share of images in
clusters (`padim_nb/data/duplicates.py`); from one half on a run warns.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from padim_nb import load_category
from padim_nb.data.duplicates import SIDE, STEP, clusters, distances
from padim_nb.data.images import Frame, image_batches
from padim_nb.util.machine import commit, machine
from padim_nb.util.mvtec_counts import CATEGORIES

PARTS, SHOTS = 20, 6
DRAWS = 10


def photographs(image: np.ndarray, shots: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The same part again: uint8 (height, width, 3)."""
    size = image.shape[1::-1]
    taken = []
    for _ in range(shots):
        shift = (1, 0, rng.uniform(-2, 2), 0, 1, rng.uniform(-2, 2))
        moved = Image.fromarray(image).transform(size, Image.Transform.AFFINE, shift, Image.Resampling.BICUBIC)
        lit = np.asarray(moved) * rng.uniform(0.9, 1.1) + rng.normal(0, 3, image.shape)
        taken.append(np.clip(lit, 0, 255).astype(np.uint8))
    return taken


def share(images: list[np.ndarray]) -> float:
    """The share of images that are in clusters."""
    small = [Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for image in images]
    gray = np.stack([np.asarray(image).mean(axis=-1) for image in small])
    return sum(map(len, clusters(distances(gray)))) / len(images)


def row_of(name: str, data: str) -> dict[str, object]:
    """One category."""
    images = np.concatenate(list(image_batches(load_category(name, data).train, Frame(), 64)))
    rng = np.random.default_rng(0)
    draws = [rng.permutation(len(images)) for _ in range(DRAWS)]
    six = [shot for k in draws[0][:PARTS] for shot in photographs(images[k], SHOTS, rng)]
    two = [shot for k in draws[0][: 2 * PARTS] for shot in photographs(images[k], 2, rng)]
    row: dict[str, object] = {"category": name, "images": len(images), "alone": share(list(images))}
    row["alone, thirty, most"] = max(share(list(images[draw[:30]])) for draw in draws)
    row |= {f"photographed {SHOTS} times": share(six), "photographed twice": share(two)}
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}


def main() -> None:
    """All categories, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--categories", nargs="+", default=CATEGORIES)
    parser.add_argument("--data", default="twin:lite")
    parser.add_argument("--name", help="of the data, in the record")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    rows = []
    for name in a.categories:
        rows.append(row_of(name, a.data))
        print(json.dumps(rows[-1]), flush=True)
    record = {"benchmark": "duplicates", "data": a.name or a.data, "step": STEP}
    record |= {"machine": machine("cpu"), "commit": commit(), "rows": rows}
    if a.out:
        a.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
