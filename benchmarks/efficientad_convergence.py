"""EfficientAD by its four losses: what so many steps give, and what each term adds.

python benchmarks/efficientad_convergence.py CATEGORY [--data ROOT] [--name NAME] [--steps 1000]
    [--points 250 500 1000] [--width 0.5] [--rate 0.001] [--without penalty] [--equalize] [--maps] [--out FOLDER]

One training by the paper's algorithm with the shipped teacher and procedural penalty images, looked at after each of
the points: all metrics of the anomaly map, image and pixel AUROC of each of the two maps alone, the four losses. The
points before the last are of the same training, so they come before the drop of the rate at 95 % of all steps; a
training that ends there would have dropped it.

--without leaves a term out: "penalty", "autoencoder" or "student-autoencoder"; for "hard" the mean over all squared
distances takes the place of the mean over the largest 0.1 %. --equalize scores the test images a second time, each
scaled to the mean gray of the training images. --maps keeps both maps of a good image and of one of each kind of
defect. A stopped run resumes when it is started again. --beside scores the same images with recipes that are trained
otherwise, such as padim-lite0, and trains nothing itself. --ship writes the trained networks as float16, with a card.

Seconds are of the processor (all threads together), as a run in the background waits for others.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from padim_nb import evaluate, load_category
from padim_nb.data.images import image_batches
from padim_nb.data.maps import AnomalyMaps
from padim_nb.data.mvtec import Category, Sample
from padim_nb.detectors import Detector
from padim_nb.efficientad import training
from padim_nb.efficientad.detector import EfficientAD
from padim_nb.efficientad.model import AnomalyMapModel
from padim_nb.efficientad.settings import EfficientADSettings, Training
from padim_nb.efficientad.trained import save_trained
from padim_nb.efficientad.training import StudentTrainer
from padim_nb.experiments.recipes import recipe
from padim_nb.experiments.record import plain
from padim_nb.util.files import cache_root, ensure_dir, whole_file
from padim_nb.util.machine import commit, machine

Array = np.ndarray
TERMS = ("hard", "penalty", "autoencoder", "student-autoencoder")
MAPS = ("student", "autoencoder")
EVERYTHING = 1e-6  # a quantile so low that all distances but one are at or above it
BLOCK = 10  # steps whose losses are averaged in the record
METRICS = ("image_auroc", "pixel_auroc", "aupro")


def chosen(arguments: argparse.Namespace) -> EfficientADSettings:
    """The paper's settings but for the teacher, the width, the rate and the number of steps."""
    steps = Training(steps=arguments.steps, rate=arguments.rate, seed=arguments.seed)
    settings = EfficientADSettings(
        weights="shipped", width=arguments.width, penalties=256, precision="auto", training=steps
    )
    if arguments.without == "hard":
        return replace(settings, training=replace(steps, hard=EVERYTHING))
    return replace(settings, penalty="none") if arguments.without == "penalty" else settings


def without(term: str, losses: Callable[..., training.Losses]) -> Callable[..., training.Losses]:
    """The losses with one of the autoencoder's terms 0; other terms are left out by the settings."""
    name = {"autoencoder": "autoencoder", "student-autoencoder": "student"}.get(term, "")

    def fewer(*args: object) -> training.Losses:
        terms = losses(*args)
        return replace(terms, **{name: 0 * getattr(terms, name)}) if name else terms

    return fewer


class Study:
    """Looks at a training after each point, and remembers every step in a file, one line each."""

    def __init__(self, category: Category, settings: EfficientADSettings, arguments: argparse.Namespace) -> None:
        self.category, self.settings, self.arguments = category, settings, arguments
        self.folder = ensure_dir(cache_root() / "convergence" / arguments.name)
        self.journal = self.folder / "steps.jsonl"
        self.train, self.test = (self._framed(samples) for samples in (category.train, category.test))
        self._step = StudentTrainer.step

    def step(self, trainer: StudentTrainer, number: int) -> training.Losses:
        """One step of the training, with its losses and seconds noted."""
        start = time.process_time()
        losses = self._step(trainer, number)
        seconds = time.process_time() - start
        terms = (losses.hard, losses.penalty, losses.autoencoder, losses.student)
        self._note({"step": number + 1, "losses": [round(float(term), 5) for term in terms], "seconds": seconds})
        if number + 1 in self.arguments.points:
            self._look(trainer, number + 1)
        return losses

    def write(self, **more: object) -> None:
        """The record of all steps and points so far."""
        lines = [json.loads(line) for line in self.journal.read_text().splitlines()] if self.journal.is_file() else []
        steps = {line["step"]: line for line in lines if "losses" in line}
        points = {line["step"]: line for line in lines if "metrics" in line}
        spent = np.cumsum([steps[number]["seconds"] for number in sorted(steps)])
        for number, point in points.items():
            point["processor_minutes"] = round(spent[sorted(steps).index(number)] / 60, 2)
        results = {
            "without": self.arguments.without,
            "settings": plain(self.settings),
            "points": [points[number] for number in sorted(points)],
            "losses": {"terms": TERMS, "steps": BLOCK, "means": _means(steps)},
        }
        self._write(self.arguments.name, {**results, **more})

    def _write(self, name: str, results: Mapping[str, object]) -> None:
        a, labels = self.arguments, [sample.label for sample in self.category.test]
        record = {
            "benchmark": "efficientad_convergence",
            "data": a.called or f"the lite twin's {a.category}",
            "category": a.category,
            "counts": {"train": len(self.train), "good": labels.count(0), "defective": labels.count(1)},
            "sha256": {"train": _digest(self.train), "test": _digest(self.test)},
            "machine": machine("cpu"),
            "commit": commit(),
            **results,
        }
        with whole_file(ensure_dir(a.out) / f"{name}.json") as scratch:
            scratch.write_text(json.dumps(record, indent=1) + "\n")

    def beside(self, names: Sequence[str]) -> None:
        """A record of what other recipes give for the same images."""
        rows = {}
        for name in names:
            start = time.process_time()
            detector = recipe(name, device="cpu").fit(self.category.train)
            minutes = round((time.process_time() - start) / 60, 2)
            rows[name] = {"metrics": self._metrics(_scored(detector, self.test)), "processor_minutes": minutes}
            if self.arguments.equalize:
                equalized = _scored(detector, _equalized(self.test, self.train.mean()))
                rows[name]["metrics with brightness equalized"] = self._metrics(equalized)
        self._write(f"{self.arguments.name}-beside", {"recipes": rows})

    @torch.inference_mode()
    def _look(self, trainer: StudentTrainer, number: int) -> None:
        """Quantiles of the held-out images, then the metrics of the test images."""
        learned = {image.tobytes() for image in trainer.images.numpy()}
        held_out = np.stack([image for image in self.train if image.tobytes() not in learned])
        model = AnomalyMapModel(trainer.teacher, trainer.pair, self.settings.border, self.train.shape[1:3]).eval()
        values = _raw(model, held_out).double().numpy()
        levels = [np.quantile(values[:, number], self.settings.quantiles).tolist() for number in range(2)]
        model.set_levels(levels)
        raw = _raw(model, self.test)
        point = {"step": number, "metrics": self._metrics(self._maps(model, raw)), "levels": levels}
        if self.arguments.equalize:
            equalized = _raw(model, _equalized(self.test, self.train.mean()))
            point["metrics with brightness equalized"] = self._metrics(self._maps(model, equalized))
        if self.arguments.maps:
            self._keep_maps(number, raw.numpy(), levels)
        for this, name in enumerate(MAPS):
            model.set_levels(levels)
            model.factor[1 - this] = model.shift[1 - this] = 0
            point[f"metrics of the {name}'s map alone"] = self._metrics(self._maps(model, raw))
        self._note(point)
        self.write()
        print(number, point["metrics"], flush=True)

    def _maps(self, model: AnomalyMapModel, raw: torch.Tensor) -> AnomalyMaps:
        return AnomalyMaps.of(model.combined(raw).numpy(), self.settings.frame)

    def _metrics(self, maps: AnomalyMaps) -> dict[str, float | None]:
        report = evaluate(maps, self.category.test)
        return {name: None if (value := report.metrics[name]) is None else round(value, 4) for name in METRICS}

    def _keep_maps(self, number: int, raw: Array, levels: Sequence[Sequence[float]]) -> None:
        """Both maps of some images, scaled as the anomaly map is made of them: 0 at q_a, 0.1 at q_b."""
        kinds = [sample.defect for sample in self.category.test]
        images = [kinds.index(kind) for kind in dict.fromkeys(kinds)]
        low, high = (np.array(ends)[None, :, None, None] for ends in zip(*levels, strict=True))
        path = ensure_dir(self.arguments.out) / f"{self.arguments.name}-maps.safetensors"
        tensors = load_file(path) if path.is_file() else {}
        tensors[f"step {number}"] = (0.1 * (raw[images] - low) / (high - low)).astype(np.float16)
        names = {str(i): f"{kinds[i]}/{self.category.test[i].image.name}" for i in images}
        with whole_file(path) as scratch:
            save_file(tensors, scratch, {"images": json.dumps(list(names.values()))})

    def _framed(self, samples: Sequence[Sample]) -> Array:
        return np.concatenate(list(image_batches(samples, self.settings.frame)))

    def _note(self, line: dict[str, object]) -> None:
        with open(self.journal, "a") as stream:
            stream.write(json.dumps(line) + "\n")


def _raw(model: AnomalyMapModel, images: Array) -> torch.Tensor:
    return torch.cat([model.raw(batch) for batch in torch.from_numpy(images).split(8)])


def _scored(detector: Detector, images: Array) -> AnomalyMaps:
    maps = [detector.score_images(images[i : i + 8]).maps for i in range(0, len(images), 8)]
    return AnomalyMaps.of(np.concatenate(maps), detector.settings.frame)


def _equalized(images: Array, gray: float) -> Array:
    """Each image, uint8 (n, height, width, 3), scaled to this mean."""
    factors = gray / images.mean((1, 2, 3))
    scaled = [(image * f).round().clip(0, 255) for image, f in zip(images, factors, strict=True)]
    return np.stack(scaled).astype(np.uint8)


def _means(steps: dict[int, dict]) -> list[list[float]]:
    """The four losses, each the mean over a block of steps."""
    rows = np.array([steps[number]["losses"] for number in sorted(steps)])
    return [rows[i : i + BLOCK].mean(0).round(4).tolist() for i in range(0, len(rows), BLOCK)]


def _digest(images: Array) -> str:
    return hashlib.sha256(images.tobytes()).hexdigest()


def patches(study: Study, term: str) -> Iterator[object]:
    """What stands in for the package's functions while it fits."""
    yield patch.object(StudentTrainer, "step", lambda trainer, number: study.step(trainer, number))
    yield patch.object(training, "losses", without(term, training.losses))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("category")
    parser.add_argument("--data", default="twin")
    parser.add_argument("--called", default="", help="what the record says the images are")
    parser.add_argument("--name", default="", help="of the record's file; a training of its own")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--points", type=int, nargs="+", default=[250, 500, 1000, 2000, 4000, 8000])
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without", choices=TERMS, default="")
    parser.add_argument("--beside", nargs="+", default=[], metavar="RECIPE")
    parser.add_argument("--equalize", action="store_true")
    parser.add_argument("--maps", action="store_true")
    parser.add_argument(
        "--ship", type=Path, metavar="FILE", help="such as padim_nb/assets/efficientad-metal_nut.safetensors"
    )
    parser.add_argument("--out", type=Path, default=Path("data/records/efficientad-convergence"))
    arguments = parser.parse_args()
    arguments.name = arguments.name or arguments.category
    arguments.name += f"-without-{arguments.without}" if arguments.without else ""
    arguments.points = sorted({point for point in arguments.points if point < arguments.steps} | {arguments.steps})
    settings = chosen(arguments)
    study = Study(load_category(arguments.category, arguments.data), settings, arguments)
    if arguments.beside:
        study.beside(arguments.beside)
        return
    detector = EfficientAD.from_settings(settings, "cpu")
    detector.checkpoint = study.folder / "training.safetensors"
    with ExitStack() as stack:
        for stand_in in patches(study, arguments.without):
            stack.enter_context(stand_in)
        detector.fit(study.category.train)
    detector.save(study.folder / "model.safetensors")
    study.write(teacher=detector.weights, facts=detector.facts)
    if arguments.ship:
        record = json.loads((arguments.out / f"{arguments.name}.json").read_text())
        facts = {"data": record["data"], "metrics": record["points"][-1]["metrics"], "made by": record["benchmark"]}
        save_trained(detector, arguments.ship, facts)


if __name__ == "__main__":
    main()
