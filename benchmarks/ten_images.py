"""What ten photographs are worth, as the page *Teach it your part* judges: exact p-values, one good part in eleven.

python benchmarks/ten_images.py [--categories bottle cable ...] [--draws 20] [--out FILE]

Ten training images are drawn, again and again. For each draw: the share of the good and of the defective test images
that are stopped, and how far the most unlike of the ten lies above the others: its score by a model of the nine, over
their largest and over their median held-out score. Then one of the ten is replaced by an image of another category:
where does that one lie?
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from padim_nb import load_category
from padim_nb.data.images import image_batches
from padim_nb.data.mvtec import Sample
from padim_nb.experiments.recipes import RECIPES
from padim_nb.padim.detector import PaDiM
from padim_nb.util.machine import commit, machine

CATEGORIES = ("bottle", "metal_nut", "cable")
IMAGES, SCORE = 10, 0.01


def fitted(samples: list[Sample]) -> PaDiM:
    """The page's recipe on these images."""
    return PaDiM.from_settings(replace(RECIPES["padim-lite0"].settings, score=SCORE), "cpu").fit(samples)


def oddness(samples: list[Sample]) -> tuple[int, float, float]:
    """The image most unlike the others; its score by a model of them over their largest and median held-out scores."""
    scores = fitted(samples).held_out_scores(samples)
    odd = int(np.argmax(scores))
    others = samples[:odd] + samples[odd + 1 :]
    detector = fitted(others)
    score = float(detector.score([samples[odd]]).scores[0])
    held_out = detector.held_out_scores(others)
    return odd, score / float(held_out.max()), score / float(np.median(held_out))


def row_of(name: str, foreign: Sample, draws: int) -> dict[str, object]:
    """All draws of one category."""
    parts, rng = load_category(name, "twin:lite"), np.random.default_rng(0)
    labels = np.array([sample.label for sample in parts.test])
    stopped: list[np.ndarray] = []
    good, mixed, named = [], [], 0
    for _ in range(draws):
        chosen = [parts.train[i] for i in sorted(rng.choice(len(parts.train), IMAGES, replace=False))]
        detector = fitted(chosen)
        images = np.concatenate(list(image_batches(parts.test, detector.settings.frame)))
        stopped.append(detector.p_values_of(images) <= 1 / (IMAGES + 1) + 1e-9)
        good.append(oddness(chosen)[1:])
        odd, *ratios = oddness([*chosen[:-1], foreign])
        named += odd == IMAGES - 1
        mixed.append(ratios)
    shares = {
        kind: [float(s[labels == label].mean()) for s in stopped] for kind, label in (("good", 0), ("defects", 1))
    }
    row: dict[str, object] = {"category": name, "draws": draws}
    for kind, values in shares.items():
        row[f"{kind} stopped"] = {f: round(float(getattr(np, f)(values)), 3) for f in ("min", "mean", "max")}
    for number, kind in enumerate(("largest", "median")):
        row[f"odd good over {kind}"] = sorted(round(values[number], 2) for values in good)
        row[f"odd foreign over {kind}"] = sorted(round(values[number], 2) for values in mixed)
    row["foreign named"] = named
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    """All categories; each gets a training image of the next one as the foreign part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--categories", nargs="+", default=CATEGORIES)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    names = list(arguments.categories)
    foreign = [load_category(name, "twin:lite").train[0] for name in names[1:] + names[:1]]
    rows = [row_of(name, other, arguments.draws) for name, other in zip(names, foreign, strict=True)]
    record = {"benchmark": "ten_images", "data": "twin:lite", "recipe": "padim-lite0", "score": SCORE, "images": IMAGES}
    record |= {"machine": machine("cpu"), "commit": commit(), "rows": rows}
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
