"""From file to verdict on one thread: median and 99th percentile of a saved and of an exported detector.

python benchmarks/line.py [--category cable] [--recipes padim-lite0 ...] [--data ROOT] [--out FILE]

The times are those that `padim-nb accept` takes, one image after the other: read, decoded, resized, scored, compared.
Beside them stand the processor's own seconds of each step, which other processes on the machine change little.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from padim_nb import load_category, recipe
from padim_nb.data.images import load_image
from padim_nb.deploy.export import export
from padim_nb.deploy.scoring import Scorer, open_scorer
from padim_nb.experiments.acceptance import accept
from padim_nb.util.machine import commit, machine

STEPS = ("read", "frame", "score")


def seconds(scorer: Scorer, paths: list[Path]) -> dict[str, list[float]]:
    """Milliseconds of the processor for each image: reading and decoding, the frame, network and distances."""
    spent: dict[str, list[float]] = {step: [] for step in STEPS}
    scorer.score_images(scorer.frame.apply(load_image(paths[0]))[None])  # the first waits for what is done once
    for path in paths:
        times = [time.process_time()]
        image = load_image(path)
        times.append(time.process_time())
        framed = scorer.frame.apply(image)
        times.append(time.process_time())
        scorer.score_images(framed[None])
        times.append(time.process_time())
        for step, before, after in zip(STEPS, times, times[1:], strict=False):
            spent[step].append(1e3 * (after - before))
    return spent


def photographs(paths: list[Path], folder: Path, side: int) -> list[Path]:
    """The images enlarged, as a camera has them, in JPEG."""
    folder.mkdir()
    larger = []
    for number, path in enumerate(paths):
        larger.append(folder / f"{number}.jpg")
        Image.open(path).convert("RGB").resize((side, side), Image.Resampling.BICUBIC).save(larger[-1], quality=95)
    return larger


def row_of(name: str, recipe_name: str, data: str, scratch: Path) -> dict[str, object]:
    """The times of one recipe, saved and exported."""
    parts = load_category(name, data)
    detector = recipe(recipe_name, device="cpu").fit(parts.train, false_alarm=0.05)
    models = {"saved": detector.save(scratch / "model.safetensors"), "exported": export(detector, scratch / "m.onnx")}
    row: dict[str, object] = {"recipe": recipe_name, "category": name, "images": len(parts.test)}
    paths = [sample.image for sample in parts.test]
    large = photographs(paths[:40], scratch / "large", 2000)
    for kind, model in models.items():
        out = scratch / kind
        accept(model, parts.root, out, device="cpu")
        facts = json.loads((out / "acceptance.json").read_text())
        scorer = open_scorer(model, device="cpu", threads=1)
        own = {"MB": round(model.stat().st_size / 1e6, 1)} | {k: facts["milliseconds"][k] for k in ("median", "p99")}
        for size, files in (("processor", paths), ("processor, JPEG of 2,000 x 2,000", large)):
            spent = seconds(scorer, files)
            totals = np.sum([spent[step] for step in STEPS], axis=0)
            own[size] = {step: round(float(np.median(spent[step])), 2) for step in STEPS}
            own[size] |= {
                "median": round(float(np.median(totals)), 2),
                "p99": round(float(np.quantile(totals, 0.99)), 2),
            }
        row[kind] = own
    print(json.dumps(row, indent=1), flush=True)
    return row


def main() -> None:
    """All recipes, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--category", default="cable")
    parser.add_argument("--recipes", nargs="+", default=("padim-lite0",))
    parser.add_argument("--data", default="twin:lite")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.recipes:
        scratch = Path(tempfile.mkdtemp())
        try:
            rows.append(row_of(arguments.category, name, arguments.data, scratch))
        finally:
            shutil.rmtree(scratch)
    record = {"benchmark": "line", "data": arguments.data, "machine": machine("cpu"), "commit": commit(), "rows": rows}
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
