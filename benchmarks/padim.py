"""PaDiM from images in memory to maps: seconds, memory and model size of our recipes, beside anomalib's PaDiM.

python benchmarks/padim.py [--n 60] [--m 40] [--rounds 3] [--recipes NAME ...] [--peers NAME ...]
                           [--device cpu] [--out FILE]

Weights are random, images are noise with a few smooth shapes: neither changes the time. The backbone is timed by
itself, so that `fit` and `score` can be read without it. anomalib (an environment of its own, see README.md) gets the
same images, the same weights, dimensions, eps and blur; its maps must agree. Ratios are of medians of one run.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from padim_nb.deploy.export import export
from padim_nb.experiments.recipes import RECIPES
from padim_nb.padim.detector import PaDiM
from padim_nb.util.machine import peak_memory_mb

OURS = ("padim-r18-rd100", "padim-wr50-rd550", "padim-effb7-lst", "padim-tf-net1-fixed")
PEERS = ("padim-r18-anomalib", "padim-wr50-anomalib")
BATCH = 16


class Memory:
    """Images in memory in the place of files: what a detector reads is `framed`."""

    def __init__(self, detector: PaDiM) -> None:
        self.detector = detector

    def fit(self, framed: np.ndarray) -> None:
        d = self.detector
        d.reset()
        batches = (d.extract(framed[start : start + BATCH]) for start in range(0, len(framed), BATCH))
        d._sum_up(batches, len(framed))
        assert d.gaussians_  # made when they are first asked for

    def score(self, framed: np.ndarray) -> np.ndarray:
        batches = [self.detector.score_images(framed[s : s + BATCH]) for s in range(0, len(framed), BATCH)]
        return np.concatenate([maps.maps for maps in batches])

    def features(self, framed: np.ndarray) -> None:
        for start in range(0, len(framed), BATCH):
            self.detector.extract(framed[start : start + BATCH])


class Peer:
    """anomalib's PadimModel, made equal to a detector of ours."""

    def __init__(self, detector: PaDiM) -> None:
        from anomalib.models.image.padim.torch_model import PadimModel

        starts = np.cumsum([0, *detector.backbone.channels])
        layers = zip(starts, detector.embedding.chosen, strict=False)
        self.ours, self.chosen = detector, torch.tensor([start + index for start, layer in layers for index in layer])
        self.name = detector.settings.backbone
        self.make = lambda: PadimModel(self.name, pre_trained=False, n_features=len(self.chosen))

    def fit(self, framed: np.ndarray) -> None:
        self.model = self.make()
        state = self.ours.backbone.network.state_dict()
        missing, _ = self.model.feature_extractor.feature_extractor.load_state_dict(state, strict=False)
        assert not missing, missing
        self.model.idx = self.chosen
        self.model.to(self.ours.device).train()
        self.model.feature_extractor.eval()
        self._run(framed)
        self.model.fit()

    def score(self, framed: np.ndarray) -> np.ndarray:
        self.model.eval()
        return torch.cat([output.anomaly_map[:, 0].cpu() for output in self._run(framed)]).numpy()

    def _run(self, framed: np.ndarray) -> list:
        out = []
        with torch.no_grad():
            for start in range(0, len(framed), BATCH):
                batch = torch.from_numpy(framed[start : start + BATCH]).to(self.ours.device)
                out.append(self.model(self.ours.backbone.normalize(batch)))
        return out


def detector_of(name: str, device: str, **changes: object) -> PaDiM:
    settings = replace(RECIPES[name].settings, weights="random", batch=BATCH, **changes)
    return PaDiM.from_settings(settings, device)


def shown(name: str, count: int, seed: int) -> np.ndarray:
    """Images in the recipe's frame, uint8 (count, h, w, 3)."""
    height, width = RECIPES[name].settings.frame.apply(np.zeros((256, 256, 3), np.uint8)).shape[:2]
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 8, 8, 3)).repeat(-(-height // 8), 1).repeat(-(-width // 8), 2)
    noise = rng.integers(-20, 20, (count, height, width, 3))
    return np.clip(coarse[:, :height, :width] // 2 + 60 + noise, 0, 255).astype(np.uint8)


def clocked(job, *given: object) -> tuple[float, object]:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = job(*given)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def ours(name: str, n: int, m: int, rounds: int, device: str) -> dict:
    """One recipe: medians, with the backbone apart."""
    detector = Memory(detector_of(name, device))
    train, test = shown(name, n, 0), shown(name, m, 1)
    spent: dict[str, list[float]] = {"fit": [], "score": [], "backbone_train": [], "backbone_test": []}
    detector.features(train[:BATCH])
    for _ in range(rounds):
        for key, job, images in (
            ("backbone_train", detector.features, train),
            ("fit", detector.fit, train),
            ("backbone_test", detector.features, test),
            ("score", detector.score, test),
        ):
            spent[key].append(clocked(job, images)[0])
    with tempfile.TemporaryDirectory() as folder:
        size = detector.detector.save(Path(folder) / "model.safetensors").stat().st_size
        peak = peak_memory_mb()  # before the export, which holds the model more than once
        graph = export(detector.detector, Path(folder) / "model.onnx").stat().st_size
    medians = {key: round(statistics.median(values), 3) for key, values in spent.items()}
    sizes = {"model_mb": round(size / 1e6, 1), "onnx_mb": round(graph / 1e6, 1), "peak_mb": peak}
    return {"recipe": name, "n_train": n, "n_test": m, "median_seconds": medians, **sizes}


def beside(name: str, n: int, m: int, rounds: int, device: str) -> dict:
    """One recipe and anomalib in turn, end to end, and how far their maps differ."""
    detector = detector_of(name, device, eps=0.01 + 1e-5)  # anomalib adds both
    both = {"ours": Memory(detector), "anomalib": Peer(detector)}
    train, test = shown(name, n, 0), shown(name, m, 1)
    spent: dict[str, list[float]] = {key: [] for key in both}
    maps = {}
    for _ in range(rounds):
        for key, detector in both.items():
            first = clocked(detector.fit, train)[0]
            second, maps[key] = clocked(detector.score, test)
            spent[key].append(first + second)
    medians = {key: statistics.median(values) for key, values in spent.items()}
    difference = np.abs(maps["ours"] - maps["anomalib"]).max() / np.abs(maps["anomalib"]).max()
    return {
        "recipe": name,
        "n_train": n,
        "n_test": m,
        "median_seconds": {key: round(value, 2) for key, value in medians.items()},
        "times_faster_than_anomalib": round(medians["anomalib"] / medians["ours"], 2),
        "largest_relative_difference_of_maps": float(difference),
    }


def in_a_process(arguments: argparse.Namespace, name: str, what: str) -> dict:
    """One measurement in a process of its own, with that process's peak memory."""
    options = ["--n", arguments.n, "--m", arguments.m, "--rounds", arguments.rounds, "--device", arguments.device]
    command = [sys.executable, __file__, "--only", f"{what}:{name}", *map(str, options)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode:
        return {"recipe": name, "not measured": child.stderr.strip().splitlines()[-1]}
    return json.loads(child.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="*", default=OURS)
    parser.add_argument("--peers", nargs="*", default=PEERS, help="recipes to run beside anomalib")
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--m", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.only:
        what, name = arguments.only.split(":")
        job = {"ours": ours, "beside": beside}[what]
        row = job(name, arguments.n, arguments.m, arguments.rounds, arguments.device)
        print(json.dumps({"peak_mb": peak_memory_mb()} | row))
        return
    rows = [in_a_process(arguments, name, "ours") for name in arguments.recipes]
    peers = [in_a_process(arguments, name, "beside") for name in arguments.peers]
    machine = {"processor": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    record = {"device": arguments.device, **machine, "rows": rows, "beside_anomalib": peers}
    print(json.dumps(record, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
