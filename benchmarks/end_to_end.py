"""One category from files to metrics: our PaDiM beside anomalib's Engine, same images, weights, dimensions and blur.

.peers/bin/python benchmarks/end_to_end.py [--category cable] [--recipes NAME ...] [--rounds 3] [--out FILE]

Each measurement is a process of its own and begins when everything is imported: ours decodes, fits, scores and
evaluates (nine metrics and a row for each kind of defect); anomalib does `Engine.fit` and `Engine.test` with its own
data module and its own metrics. Weights are random. The two take turns; ratios are of medians of one run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from padim_nb import evaluate, load_category
from padim_nb.experiments.recipes import RECIPES
from padim_nb.padim.detector import PaDiM
from padim_nb.util.machine import machine, peak_memory_mb

NAMES = ("padim-r18-anomalib", "padim-wr50-anomalib")
SAME = ("image_auroc", "pixel_auroc")


def detector_of(name: str) -> PaDiM:
    settings = replace(RECIPES[name].settings, weights="random", eps=0.01 + 1e-5)  # anomalib adds both
    return PaDiM.from_settings(settings, "cpu")


def ours(name: str, category: str, root: Path) -> tuple[float, dict[str, float]]:
    detector = detector_of(name)
    start = time.perf_counter()
    parts = load_category(category, root)
    maps = detector.fit(parts.train).score(parts.test)
    metrics = evaluate(maps, parts.test).metrics
    return time.perf_counter() - start, {key: metrics[key] for key in SAME}


def anomalib(name: str, category: str, root: Path) -> tuple[float, dict[str, float]]:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    import torch
    from anomalib.data import MVTecAD
    from anomalib.engine import Engine
    from anomalib.models import Padim

    detector = detector_of(name)
    starts = [sum(detector.backbone.channels[:layer]) for layer in range(len(detector.backbone.channels))]
    chosen = [start + index for start, layer in zip(starts, detector.embedding.chosen, strict=True) for index in layer]
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        model = Padim(backbone=detector.settings.backbone, pre_trained=False, n_features=len(chosen))
        network = model.model.feature_extractor.feature_extractor
        missing, _ = network.load_state_dict(detector.backbone.network.state_dict(), strict=False)
        assert not missing, missing
        model.model.idx = torch.tensor(chosen)
        quiet = {"enable_progress_bar": False, "logger": False, "accelerator": "cpu", "devices": 1}
        engine = Engine(default_root_dir=place, **quiet)
        start = time.perf_counter()
        data = MVTecAD(root=root, category=category, num_workers=os.cpu_count() or 1)
        engine.fit(model=model, datamodule=data)
        (results,) = engine.test(model=model, datamodule=data, verbose=False)
        seconds = time.perf_counter() - start
    return seconds, {key: float(results[key.replace("auroc", "AUROC")]) for key in SAME}


def child(what: str, name: str, category: str, root: Path) -> dict:
    seconds, metrics = {"ours": ours, "anomalib": anomalib}[what](name, category, root)
    return {"seconds": seconds, "metrics": metrics, "peak MB": peak_memory_mb()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--category", default="cable")
    parser.add_argument("--recipes", nargs="+", default=NAMES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    if a.child:
        what, name, root = a.child
        print(json.dumps(child(what, name, a.category, Path(root))))
        return
    parts = load_category(a.category)
    root, rows = str(parts.root.parent), []
    for name in a.recipes:
        seen: dict[str, list[dict]] = {"ours": [], "anomalib": []}
        for _ in range(a.rounds):
            for what, runs in seen.items():
                command = [sys.executable, __file__, "--category", a.category, "--child", what, name, root]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    sys.exit(done.stderr)
                runs.append(json.loads(done.stdout.strip().splitlines()[-1]))
        medians = {what: statistics.median(run["seconds"] for run in runs) for what, runs in seen.items()}
        rows.append(
            {
                "recipe": name,
                "seconds": {what: round(value, 1) for what, value in medians.items()},
                "times faster": round(medians["anomalib"] / medians["ours"], 2),
                "peak MB": {what: max(run["peak MB"] for run in runs) for what, runs in seen.items()},
                "metrics": {what: runs[-1]["metrics"] for what, runs in seen.items()},
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    counts = {"train": len(parts.train), "test": len(parts.test)}
    record = {"benchmark": "end to end", "category": a.category, "data": parts.source, "images": counts}
    record |= {"machine": machine("cpu"), "anomalib": version("anomalib"), "rounds": a.rounds, "rows": rows}
    if a.out:
        a.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
