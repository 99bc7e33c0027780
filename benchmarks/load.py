"""Memory under load: the peak of a process of its own that fits on, or scores, more and more images.

python benchmarks/load.py [--recipe padim-lite0] [--out data/records/load.json]

The images are 256 x 256 noise, one file under many names; each figure is the most memory the process ever held, with
Python, torch and the network in it. The large image is 4,000 x 3,000.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from padim_nb.data.mvtec import images_in, load_category
from padim_nb.deploy.scoring import score_files
from padim_nb.detectors import load
from padim_nb.experiments.recipes import recipe
from padim_nb.util.machine import machine, peak_memory_mb

FIT, SCORE = (200, 1000, 2000), (100, 1000)


def image_batches(folder: Path, count: int) -> Path:
    """A data root with so many training images of one part."""
    good = folder / "part" / "train" / "good"
    good.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    Image.fromarray(noise).save(good / "00000.png")
    for number in range(1, count):
        os.link(good / "00000.png", good / f"{number:05d}.png")
    return folder


def child(what: str, root: Path, model: Path, count: int, name: str) -> None:
    """Do one thing and say how much memory it took."""
    start = time.perf_counter()
    if what == "fit":
        detector = recipe(name, device="cpu").fit(load_category("part", root).train[:count])
        seconds = time.perf_counter() - start
        detector.save(model)
    elif what == "score":
        images = images_in(root / "part" / "train" / "good")[:count]
        assert sum(1 for _ in score_files(model, images, None, "cpu")) == count
        seconds = time.perf_counter() - start
    else:
        load(model, device="cpu")
        seconds = time.perf_counter() - start
        if what == "large":
            assert len(list(score_files(model, [root / "large.png"], None, "cpu"))) == 1
    print(json.dumps({"what": what, "images": count, "peak MB": peak_memory_mb(), "seconds": round(seconds, 1)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="padim-lite0")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        what, root, model, count = arguments.child
        return child(what, Path(root), Path(model), int(count), arguments.recipe)
    with tempfile.TemporaryDirectory() as place:
        root, model = image_batches(Path(place), max(FIT + SCORE)), Path(place) / "model.safetensors"
        Image.fromarray(np.tile(np.arange(250, dtype=np.uint8), (3000, 16))).save(root / "large.png")
        jobs = [("fit", n) for n in FIT] + [("load", 0), ("large", 1)] + [("score", n) for n in SCORE]
        rows = []
        for what, count in jobs:
            command = [
                sys.executable,
                __file__,
                "--recipe",
                arguments.recipe,
                "--child",
                what,
                place,
                str(model),
                str(count),
            ]
            cache = {"PADIM_NB_CACHE": str(Path(place) / "cache")}
            done = subprocess.run(command, env=os.environ | cache, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(rows[-1], flush=True)
    record = {"benchmark": "load", "recipe_run": arguments.recipe, "machine": machine("cpu"), "rows": rows}
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
