"""Thresholds from parts that were photographed several times: with groups, and without.

python benchmarks/groups.py [--category metal_nut] [--parts 40] [--shots 6] [--draws 5] [--out FILE]

Of the training images PARTS are photographed SHOTS times each (see `duplicates.py`); a detector is fitted to these
photographs, and its threshold requests 10 %. All other training images and the good test images, photographed once
each in the same way, are the new parts. "warned" is whether undeclared photographs of one part were noticed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np
from duplicates import photographs
from PIL import Image

from padim_nb import load_category, recipe
from padim_nb.data.duplicates import duplicate_note
from padim_nb.data.images import Frame, image_batches
from padim_nb.data.mvtec import Sample
from padim_nb.util.machine import commit, machine

RATE = 0.1
GROUP = "^part[0-9]+"  # in the names of the files


def framed(samples: Sequence[Sample]) -> np.ndarray:
    """The images of samples as the detector sees them."""
    return np.concatenate(list(image_batches(samples, Frame(), 64)))


def row_of(category: str, parts: int, shots: int, draw: int) -> dict[str, object]:
    """One draw of parts."""
    own, rng = load_category(category, "twin:lite"), np.random.default_rng(draw)
    order = rng.permutation(len(own.train))
    images = framed([own.train[k] for k in order[:parts]])
    new = [own.train[k] for k in order[parts:]] + [sample for sample in own.test if not sample.label]
    bad = [sample for sample in own.test if sample.label]
    row: dict[str, object] = {"draw": draw, "parts": parts, "shots": shots, "new parts": len(new)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / category
        good = folder / "train" / "good"
        good.mkdir(parents=True)
        for k, image in enumerate(images):
            for shot, taken in enumerate(photographs(image, shots, rng)):
                Image.fromarray(taken).save(good / f"part{k:02d}-{shot}.png")
        train = load_category(category, folder, GROUP).train
        detector = recipe("padim-lite0", device="cpu").fit(train, false_alarm=RATE)
        alone = [replace(sample, group="") for sample in train]
        limits = {"with groups": detector.threshold_}
        limits["without"] = recipe("padim-lite0", device="cpu").fit(alone, false_alarm=RATE).threshold_
        once = [np.concatenate([photographs(image, 1, rng) for image in framed(samples)]) for samples in (new, bad)]
        scores, defective = (detector.score_images(images).scores for images in once)  # the Gaussians are the same
        for name, limit in limits.items():
            row |= {f"{name}, good stopped": round(float((scores > limit.value).mean()), 4)}
            row |= {f"{name}, defects stopped": round(float((defective > limit.value).mean()), 4)}
        row |= {"warned": bool(duplicate_note(alone)), "warned with groups": bool(duplicate_note(train))}
        if not draw:
            row["line"] = duplicate_note(alone)
    return row


def main() -> None:
    """Several draws, and their means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--category", default="metal_nut")
    parser.add_argument("--parts", type=int, default=40)
    parser.add_argument("--shots", type=int, default=6)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    rows = []
    for draw in range(a.draws):
        rows.append(row_of(a.category, a.parts, a.shots, draw))
        print(json.dumps(rows[-1]), flush=True)
    means = {name: round(mean(row[name] for row in rows), 4) for name in rows[0] if name.endswith("stopped")}
    print(json.dumps(means), flush=True)
    record = {"benchmark": "groups", "data": "twin:lite", "category": a.category, "rate": RATE, "mean": means}
    record |= {"machine": machine("cpu"), "commit": commit(), "rows": rows}
    if a.out:
        a.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
