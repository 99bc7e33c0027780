"""`padim-lite0` by the size of its images: seconds, memory beside what was computed, and metrics.

python benchmarks/size.py [--category screw] [--sizes 256 512 1024] [--images N] [--out RECORD]

One category of the twin, rendered with 1024 pixels a side (once, which takes longer than the rest), so that larger
sizes show more than smaller ones do. Besides squares, its images without their upper quarter, 768 x 1024, at 384x512.
Each size has a process of its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from padim_nb import evaluate, load_category, recipe
from padim_nb.experiments.recipes import size_of
from padim_nb.experiments.run import Stopwatch
from padim_nb.padim.memory import memory_of
from padim_nb.twin import ensure
from padim_nb.util.machine import machine, peak_memory_mb

RECIPE = "padim-lite0"
FLAT = "384x512"
METRICS = ("image_auroc", "pixel_auroc", "aupro")


def flat_copy(folder: Path, target: Path) -> Path:
    """A copy of a category's folder whose images and masks lack their upper quarter, and the defects that are in it."""
    shutil.copytree(folder, target)
    for path in target.rglob("*.png"):
        with Image.open(path) as image:
            image.load()
            image.crop((0, image.height // 4, image.width, image.height)).save(path)
    for mask in (target / "ground_truth").rglob("*.png"):
        with Image.open(mask) as image:
            marked = image.getbbox()
        if not marked:
            (target / "test" / mask.parent.name / f"{mask.stem.removesuffix('_mask')}.png").unlink()
            mask.unlink()
    return target


def child(folder: Path, size: str, images: int | None) -> None:
    parts = load_category(folder.name, folder)
    train, test = parts.train[:images], parts.test[:: 1 if images is None else max(1, len(parts.test) // images)]
    detector = recipe(RECIPE, device="cpu", size=size)
    predicted = memory_of(detector.settings, size_of(size), len(train))
    watch = Stopwatch()
    with watch("fit"):
        detector.fit(train, 0.01)
    fitted = peak_memory_mb()
    with watch("score"):
        maps = detector.score(test)
    with watch("evaluate"):
        report = evaluate(maps, test)
    figures = {
        "images": {"train": len(train), "test": len(test)},
        "form": detector.facts["form"],
        "predicted MB": {name: round(getattr(predicted, name) / 1e6) for name in ("model", "sums", "features", "peak")},
        "model MB": round(detector.gaussians_.bytes / 1e6),
        "peak MB": {"fit": fitted, "all": peak_memory_mb()},
        "seconds": watch.seconds,
        **{name: round(report.metrics[name], 4) for name in METRICS},
        "image AUROC by defect": {row.defect: round(row.image_auroc, 3) for row in report.per_defect},
    }
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--category", default="screw")
    parser.add_argument("--sizes", nargs="+", default=["256", "512", "1024"])
    parser.add_argument("--images", type=int, help="at most so many training images, and about as many test images")
    parser.add_argument("--rendered", type=int, default=1024, help="side of the twin's images")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return child(Path(arguments.child[0]), arguments.child[1], arguments.images)
    square = ensure(arguments.category, size=arguments.rendered)
    rows = {}
    with tempfile.TemporaryDirectory() as place:
        flat = flat_copy(square, Path(place) / arguments.category)
        for folder, size in [*((square, size) for size in arguments.sizes), (flat, FLAT)]:
            command = [sys.executable, __file__, "--child", str(folder), size]
            limit = [] if arguments.images is None else ["--images", str(arguments.images)]
            done = subprocess.run([*command, *limit], stdout=subprocess.PIPE, text=True, check=True)
            rows[size] = json.loads(done.stdout.splitlines()[-1])
            print(f"{size:<8}", rows[size], flush=True)
            record = {"benchmark": "size", "recipe": RECIPE, "category": arguments.category}
            record |= {"rendered": arguments.rendered, **machine("cpu"), "rows": rows}
            if arguments.out:
                arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
