"""Both methods on a GPU: seconds, memory, and whether the maps are those of this machine's processor.

python benchmarks/gpu.py [--category cable] [--data twin:lite] [--recipes NAME ...] [--weights RESNET18]
                         [--out data/records/gpu.json]

A recipe is fitted and scores on the processor once and on the GPU twice: the first time there loads its libraries, so
that the second counts; by then the decoded images are in the cache. It is also saved on the GPU, read on the processor,
and fitted on the GPU in two shares that are merged. Recipes whose weights are not here run with random ones ("weights"
says so): the time is the same.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from padim_nb import evaluate, load, load_category, recipe
from padim_nb.data.maps import AnomalyMaps
from padim_nb.data.mvtec import Category
from padim_nb.detectors import Detector
from padim_nb.errors import PadimError
from padim_nb.experiments.recipes import RECIPES
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.distributed import merged, statistics_of
from padim_nb.util.machine import cpuinfo, gpu_facts, versions

NAMES = ("padim-lite0", "padim-gabor", "padim-random", "padim-r18-rd100", "padim-wr50-rd550", "padim-effb7-lst",
         "least-squares-student")  # fmt: skip


def detector_of(name: str, weights: str | None, device: str) -> Detector:
    """The detector of a recipe, with random weights where its own are not here."""
    if weights and "r18" in name:
        return recipe(name, weights, device=device)
    try:
        return recipe(name, device=device)
    except PadimError:
        return recipe(name, "random", device=device)


def fit_and_score(detector: Detector, samples: Category) -> tuple[AnomalyMaps, float, float]:
    """Maps of the test images, seconds of the fit and of the scores; all work on the device done."""
    start = time.perf_counter()
    detector.fit(samples.train)
    if isinstance(detector, PaDiM):
        assert detector.gaussians_  # made when they are first asked for
    _wait(detector.device)
    between = time.perf_counter()
    maps = detector.score(samples.test)
    return maps, between - start, time.perf_counter() - between


def difference(ours: object, other: object) -> float:
    """The largest difference of maps, as a share of the largest value of the other ones."""
    a, b = np.asarray(ours, np.float64), np.asarray(other, np.float64)
    return float(f"{np.abs(a - b).max() / np.abs(b).max():.2g}")


def measure(name: str, samples: Category, weights: str | None) -> dict:
    """One recipe on both devices."""
    on_cpu = detector_of(name, weights, "cpu")
    expected, _, _ = fit_and_score(on_cpu, samples)
    fit_and_score(detector_of(name, weights, "cuda"), samples)
    torch.cuda.reset_peak_memory_stats()
    detector = detector_of(name, weights, "cuda")
    maps, fit, score = fit_and_score(detector, samples)
    figures = {
        "recipe": name,
        "weights": detector.weights.get("name"),
        "seconds": {"fit": round(fit, 3), "score": round(score, 3)},
        "peak_gpu_mb": round(torch.cuda.max_memory_allocated() / 1e6),
        "largest difference": difference(maps, expected),
        "image_auroc": [round(evaluate(m, samples.test).metrics["image_auroc"], 4) for m in (maps, expected)],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = detector.save(Path(folder) / "model.safetensors")
        figures["difference saved, on the GPU"] = difference(load(path, device="cuda").score(samples.test), maps)
        figures["difference saved, on the processor"] = difference(load(path, device="cpu").score(samples.test), maps)
    if isinstance(detector, PaDiM):
        both = detector_of(name, weights, "cuda")
        shares = [statistics_of(samples.train[k::2], both.settings, len(samples.train), "cuda") for k in (0, 1)]
        both.merge_statistics(*merged(*shares, both.settings))
        figures["difference merged"] = difference(both.score(samples.test), maps)
    return figures


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--category", default="cable")
    parser.add_argument("--data", default="twin:lite")
    parser.add_argument("--recipes", nargs="+", default=list(NAMES), choices=list(RECIPES))
    parser.add_argument("--weights", help="ImageNet's ResNet-18, a file")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    samples = load_category(a.category, a.data)
    record = {
        "category": f"{a.category} of {a.data}",
        "images": {"train": len(samples.train), "test": len(samples.test)},
        **gpu_facts("cuda"),
        "processor": f"{cpuinfo('model name')}, {os.cpu_count()} cores",
        "versions": versions(),
        "rows": [],
    }
    for name in a.recipes:
        record["rows"].append(measure(name, samples, a.weights))
        print(json.dumps(record["rows"][-1]), flush=True)
        if a.out:
            a.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
