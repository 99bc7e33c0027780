"""What another reader of images does to a detector's scores: the same photographs, resized by other filters.

python benchmarks/readers.py [--categories cable ...] [--data ROOT] [--sides 128 64] [--out FILE]

`padim-lite0`, with the mean of the largest 1 % of a map as image score, is fitted with its own filter, Pillow's
bilinear one, which averages all pixels that it covers. It gets a leave-one-out threshold for 5 %. Its test images,
twice and four times as large as the frame, then come through other filters. For each: how far scores move, in
thresholds, and which share of the good and of the defective ones is stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from padim_nb import load_category
from padim_nb.data.images import Frame, load_image
from padim_nb.experiments.recipes import settings_of
from padim_nb.padim.detector import PaDiM
from padim_nb.util.machine import commit, machine

Resize = Callable[[np.ndarray, int], np.ndarray]
CATEGORIES = ("bottle", "cable", "carpet", "hazelnut", "metal_nut", "screw", "transistor", "zipper")
RATE, SCORE = 0.05, 0.01


def pillow(name: str) -> Resize:
    """A filter of Pillow."""
    kind = Image.Resampling[name]
    return lambda image, side: np.asarray(Image.fromarray(image).resize((side, side), kind))


def four_neighbors(image: np.ndarray, side: int) -> np.ndarray:
    """Bilinear between four pixels whatever the scale, as OpenCV's INTER_LINEAR and many cameras' libraries have it."""
    return Frame((side, side), resample="bilinear-aliased").apply(image)


def torch_antialiased(image: np.ndarray, side: int) -> np.ndarray:
    """The same triangle in floats, by torch."""
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255)[0].permute(1, 2, 0).to(torch.uint8).numpy()


READERS: dict[str, Resize] = {
    "Pillow BILINEAR": pillow("BILINEAR"),
    "torch bilinear, antialias=True": torch_antialiased,
    "Pillow BOX (area)": pillow("BOX"),
    "Pillow BICUBIC": pillow("BICUBIC"),
    "Pillow LANCZOS": pillow("LANCZOS"),
    "bilinear of four neighbors": four_neighbors,
    "Pillow NEAREST": pillow("NEAREST"),
}


def rows_of(name: str, data: str, side: int) -> list[dict[str, object]]:
    """One row for each reader."""
    parts = load_category(name, data)
    labels = np.array([sample.label for sample in parts.test])
    settings = replace(settings_of("padim-lite0", size=side), score=SCORE)
    detector = PaDiM.from_settings(settings, "cpu").fit(parts.train, false_alarm=RATE)
    limit = detector.threshold_.value
    images = [load_image(sample.image) for sample in parts.test]
    own = None
    rows = []
    for reader, resize in READERS.items():
        framed = np.stack([resize(image, side) for image in images])
        scores = np.concatenate([detector.score_images(part).scores for part in np.array_split(framed, 8)])
        own = scores if own is None else own
        moved = (scores - own) / limit
        row = {"category": name, "side": side, "factor": round(images[0].shape[0] / side, 2), "reader": reader}
        row["good moved"] = round(float(np.median(moved[labels == 0])), 4)
        row["largest move"] = round(float(np.abs(moved).max()), 4)
        row["good stopped"] = round(float((scores[labels == 0] > limit).mean()), 4)
        row["defects stopped"] = round(float((scores[labels == 1] > limit).mean()), 4)
        row["image_auroc"] = round(float(roc_auc_score(labels, scores)), 4)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def means(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Means over categories of each reader and side."""
    keys = ("good moved", "largest move", "good stopped", "defects stopped", "image_auroc")
    table = []
    for side in dict.fromkeys(row["side"] for row in rows):
        for reader in READERS:
            own = [row for row in rows if (row["side"], row["reader"]) == (side, reader)]
            values = {key: round(float(np.mean([row[key] for row in own])), 4) for key in keys}
            most = max(row["good stopped"] for row in own)
            table.append({"side": side, "reader": reader, **values, "most good stopped": most, "categories": len(own)})
    return table


def main() -> None:
    """Print the rows of each category; write record and means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--categories", nargs="+", default=CATEGORIES)
    parser.add_argument("--data", default="twin:lite")
    parser.add_argument("--sides", type=int, nargs="+", default=(128, 64))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = [
        row for side in arguments.sides for name in arguments.categories for row in rows_of(name, arguments.data, side)
    ]
    facts = {"benchmark": "readers", "data": arguments.data, "recipe": "padim-lite0", "score": SCORE, "rate": RATE}
    facts |= {"machine": machine("cpu"), "commit": commit()}
    record = {**facts, "means": means(rows), "rows": rows}
    print(json.dumps(record["means"], indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
