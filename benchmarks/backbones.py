"""A backbone's features on a CPU: torch as it is, in other ways, and ONNX Runtime, beside each other in one process.

python benchmarks/backbones.py [--names NAME ...] [--rounds 5] [--fit] [--out FILE]

Milliseconds an image with random weights, medians of rounds in which all ways take turns. "of four": so many
images at once. Two threads are Python's, each with half of the images. `build`: seconds until a way is ready. With
--fit also seconds of `fit` and `score` of one category of the twin with `padim-lite0`, through torch and through ONNX
Runtime.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn

from padim_nb import load_category, recipe
from padim_nb.features.backbones import backbone, folded
from padim_nb.features.efficientnet import LITE
from padim_nb.features.onnx_runtime import _build
from padim_nb.util.machine import machine
from padim_nb.util.threads import in_threads

CASES = ((256, 1), (256, 8), (256, 32), (512, 8))  # (height and width, images)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each way, after a first round that is not counted."""
    taken = [{way: seconds(work) for way, work in ways.items()} for _ in range(rounds + 1)]
    return {way: statistics.median(row[way] for row in taken[1:]) for way in ways}


def exported(network: nn.Module) -> onnxruntime.InferenceSession:
    """A session of one thread from torch's own export, for networks that the package leaves to torch."""
    file, options = io.BytesIO(), onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    free = {"x": {0: "n", 2: "height", 3: "width"}}
    torch.onnx.export(network, (torch.zeros(1, 3, 64, 64),), file, input_names=["x"], dynamic_axes=free, dynamo=False)
    return onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])


def networks(name: str) -> tuple[dict[str, Callable[[Tensor], object]], dict[str, float]]:
    """Each way to compute a backbone, and seconds to build it."""
    network, build = backbone(name, "random").network, {}
    start = time.perf_counter()
    plain = folded(network)
    build["folded"] = time.perf_counter() - start
    session = _build(plain) if name in LITE else exported(plain)
    build["ONNX Runtime"] = time.perf_counter() - start
    start, x = time.perf_counter(), torch.zeros(1, 3, 256, 256).contiguous(memory_format=torch.channels_last)
    frozen = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(plain, x)))
    for _ in range(3):  # the first calls compile
        frozen(x)
    build["frozen"] = time.perf_counter() - start

    def channels_last(run: Callable[[Tensor], object]) -> Callable[[Tensor], object]:
        return lambda x: run(x.contiguous(memory_format=torch.channels_last))

    ways = {
        "torch": channels_last(network),
        "folded": channels_last(plain),
        "folded, contiguous": plain,
        "frozen": channels_last(frozen),
        "ONNX Runtime": lambda x: session.run(None, {"x": x.numpy()}),
    }
    return ways, {way: round(value, 3) for way, value in build.items()}


def network_rows(name: str, rounds: int) -> list[dict]:
    ways, build = networks(name)
    rows: list[dict] = [{"backbone": name, "build": build}]
    print(json.dumps(rows[0]), flush=True)
    for size, count in CASES:
        images = torch.randn(count, 3, size, size)
        parts = {"": (images,)}
        if count > 1:
            parts |= {" of four": images.split(4), ", two threads": images.chunk(2)}
        works = {}
        for way, run in ways.items():
            for how, cut in parts.items():
                threads = 2 if "two" in how else 1
                works[way + how] = lambda run=run, cut=cut, threads=threads: with_threads(threads, run, cut)
        with torch.inference_mode():
            taken = in_turns(works, rounds)
        row = {way: round(1000 * value / count, 1) for way, value in taken.items()}
        rows.append({"backbone": name, "size": size, "images": count, "milliseconds an image": row})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def with_threads(threads: int, run: Callable[[Tensor], object], parts: tuple[Tensor, ...]) -> None:
    torch.set_num_threads(threads)
    in_threads(run, parts)


def fit_row(rounds: int) -> dict:
    """Seconds of fit and score with two threads, the images in the cache."""
    torch.set_num_threads(2)
    category = load_category("cable", "twin:lite")

    def through(way: str) -> object:
        os.environ["PADIM_NB_FEATURES"] = way
        detector = recipe("padim-lite0", device="cpu")
        return detector.fit(category.train).score(category.test)

    taken = in_turns({"torch": lambda: through("torch"), "ONNX Runtime": lambda: through("")}, rounds)
    return {"fit and score": {way: round(value, 2) for way, value in taken.items()}, "data": category.source}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", nargs="*", default=["efficientnet-lite0", "resnet18"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = [row for name in arguments.names for row in network_rows(name, arguments.rounds)]
    if arguments.fit:
        rows.append(fit_row(arguments.rounds))
        print(json.dumps(rows[-1]), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps({**machine("cpu"), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
