"""What each recipe costs on this machine: minutes a category, peak memory, size of the model.

python benchmarks/costs.py [--recipes padim-wr50-rd550 ...] [--out RECORD]

A typical category of MVTec AD, 242 training and 115 test images (its means), with random weights, which cost what
learned ones do. The network is timed on a few images; the Gaussians are fitted, scored and calibrated on all of them,
fed with those few images' features again and again. EfficientAD's steps and images are timed on a few and multiplied;
a recipe of few and cheap steps is timed whole.
Each recipe has a process of its own. Rows of other recipes that RECORD holds already are kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from padim_nb.data.mvtec import Sample, load_category
from padim_nb.detectors import Detector
from padim_nb.efficientad import pdn
from padim_nb.efficientad.cards import write_card
from padim_nb.efficientad.detector import EfficientAD
from padim_nb.experiments.costs import TEST, TRAIN
from padim_nb.experiments.recipes import RECIPES, recipe
from padim_nb.padim.detector import PaDiM
from padim_nb.util.machine import machine, peak_memory_mb

ALIKE = {  # recipes that differ in nothing that costs time are measured once; more penalty images cost their memory
    **{f"padim-tf-net{n}-fixed": f"padim-tf-net{n}" for n in (1, 2, 3)},
    **{f"efficientad-s-{source}": "efficientad-s" for source in ("anomalib", "nelson1425")},
    "efficientad-m-nelson1425": "efficientad-m",
}
TIMED = 8
STEPS = 6


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def repeated(samples: Sequence[Sample], count: int) -> list[Sample]:
    return [samples[number % len(samples)] for number in range(count)]


def padim_minutes(detector: PaDiM, train: list[Sample], test: list[Sample]) -> float:
    """The network on every image, and the Gaussians with the threshold."""
    timed = train[: detector.settings.batch]
    detector.features(timed[:TIMED])  # the first call also warms up
    an_image = seconds(lambda: detector.features(timed)) / len(timed)
    layers = []
    inner = detector.backbone.infer

    def replay(x):
        if not layers or len(layers[0]) < len(x):
            layers[:] = inner(x)
        return [layer[: len(x)] for layer in layers]

    detector.backbone.infer = replay
    detector.features(timed)
    rest = seconds(lambda: (detector.fit(train, 0.01), detector.score(test)))
    return (an_image * (len(train) + len(test)) + rest) / 60


def whole_minutes(name: str, train: list[Sample], test: list[Sample]) -> tuple[float, Detector]:
    """All of it, after a first call that warms up."""
    recipe(name, device="cpu", steps=1).fit(train[:TIMED])
    detector = recipe(name, device="cpu")
    return seconds(lambda: (detector.fit(train), detector.score(test))) / 60, detector


def efficientad_minutes(name: str, weights: str, train: list[Sample], test: list[Sample]) -> tuple[float, EfficientAD]:
    def fitted(steps: int, samples: list[Sample]) -> EfficientAD:
        return recipe(name, weights, device="cpu", steps=steps).fit(samples)

    settings, timed = RECIPES[name].settings, train[:TIMED]
    detector = fitted(1, timed)  # the first call also warms up
    step = (seconds(lambda: fitted(STEPS + 1, timed)) - seconds(lambda: fitted(1, timed))) / STEPS
    one = seconds(lambda: fitted(1, train[: 4 * TIMED]))
    an_image = seconds(lambda: detector.score(test[:TIMED])) / TIMED
    whole = one * len(train) / (4 * TIMED) + step * settings.training.steps + an_image * len(test)
    return whole / 60, detector


def teacher(size: str, folder: Path) -> str:
    """A file of a teacher's random weights."""
    network = pdn.teacher(size)
    return str(write_card(folder / f"{size}.safetensors", network.state_dict(), {}, "cpu"))


def images_mb(name: str) -> int:
    """Memory of a recipe's penalty images."""
    return round(getattr(RECIPES[name].settings, "penalties", 0) * 256 * 256 * 3 / 1e6)


def child(name: str) -> None:
    parts = load_category("bottle")
    train, test = repeated(parts.train, TRAIN), repeated(parts.test, TEST)
    with tempfile.TemporaryDirectory() as place:
        if name.startswith("efficientad"):
            minutes, detector = efficientad_minutes(
                name, teacher(RECIPES[name].settings.size, Path(place)), train, test
            )
        elif name == "least-squares-student":
            minutes, detector = whole_minutes(name, train, test)
        else:
            needs_none = RECIPES[name].needs == "nothing"
            detector = recipe(name, None if needs_none else "random", device="cpu")
            minutes = padim_minutes(detector, train, test)
        peak = peak_memory_mb()
        size = detector.save(Path(place) / "model.safetensors").stat().st_size / 1e6
    row = {"minutes a category": round(minutes, 1), "peak MB": round(peak or 0), "model MB": round(size)}
    print(json.dumps(row))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return child(arguments.child)
    rows = json.loads(arguments.out.read_text())["rows"] if arguments.out and arguments.out.exists() else {}
    on = machine("cpu")
    for name in dict.fromkeys(ALIKE.get(name, name) for name in arguments.recipes):
        done = subprocess.run([sys.executable, __file__, "--child", name], capture_output=True, text=True, check=True)
        rows[name] = json.loads(done.stdout.splitlines()[-1]) | {"on": f"{on['threads']} cores of {on['device']}"}
        print(f"{name:<24}", rows[name], flush=True)
        for alike in (alike for alike, other in ALIKE.items() if other == name):
            more = images_mb(alike) - images_mb(name)
            rows[alike] = rows[name] | {"peak MB": rows[name]["peak MB"] + more}
        if arguments.out:
            known = {name: rows[name] for name in RECIPES if name in rows}
            record = {"benchmark": "costs", "train": TRAIN, "test": TEST, "rows": known}
            arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
