"""The Gaussian part of PaDiM by itself: ours, one big batched Cholesky, and the textbook loop, on the same features.

python benchmarks/gaussian.py [--case NAME] [--rounds 3] [--device cpu] [--out data/records/gaussian-cpu.json]

Features are correlated noise of the sizes a recipe has; what is timed is fit + scores of the test images from feature
maps in memory. All ways run in turn in one process, ratios are of medians. The loop is run at a few positions and
scaled to all. Memory is the peak of a process of its own that only fits (`--memory`).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.distance import mahalanobis

from padim_nb.features.dimensions import joined
from padim_nb.padim.gaussian import PatchGaussians
from padim_nb.padim.low_rank import LowRankGaussians, is_cheaper
from padim_nb.padim.moments import Moments
from padim_nb.util.machine import peak_memory_mb

# channels and side of each level, coarse to fine, as the recipes' seeds choose them
CASES = {
    "padim-r18-rd100": ((59, 14), (23, 28), (18, 56)),
    "padim-wr50-rd550": ((314, 14), (154, 28), (82, 56)),
    "padim-effb7": ((224, 14), (80, 28), (48, 56)),
    "padim-tf-net1": ((500, 7), (500, 14)),
}
BATCH, EPS = 32, 0.01


def features(case: str, n: int, seed: int, device: str) -> list[torch.Tensor]:
    """Levels [(n, c, h, w)] of correlated noise, coarse to fine."""
    generator = torch.Generator().manual_seed(seed)
    levels = []
    for c, side in CASES[case]:
        mixing = torch.randn(c, c, generator=torch.Generator().manual_seed(c)) / c**0.5
        noise = torch.randn(n, c, side, side, generator=generator)
        levels.append(torch.einsum("nchw,cd->ndhw", noise, mixing).to(device))
    return levels


def batches(levels: list[torch.Tensor]):
    for start in range(0, len(levels[0]), BATCH):
        yield [level[start : start + BATCH] for level in levels]


def fit_ours(train: list) -> PatchGaussians:
    moments = None
    for batch in batches(train):
        moments = Moments.from_features(batch) if moments is None else moments.add(batch)
    return PatchGaussians.fit(moments, EPS)


def multi_resolution(train: list, test: list) -> torch.Tensor:
    fitted = fit_ours(train)
    return torch.cat([fitted.distances(batch) for batch in batches(test)])


def low_rank(train: list, test: list) -> torch.Tensor:
    fitted = LowRankGaussians.fit(train, EPS)
    return torch.cat([fitted.distances(batch) for batch in batches(test)])


def aligned(levels: list[torch.Tensor]) -> torch.Tensor:
    """Up-sampled to the finest grid and joined: (positions, n, d)."""
    return joined(levels).flatten(2).permute(2, 0, 1).contiguous()


def dense(train: list, test: list, block: int = 196) -> torch.Tensor:
    """Up-sample, one covariance and one inverse a position, batched over positions."""
    x, y = aligned(train), aligned(test)
    out = []
    for start in range(0, len(x), block):
        train, new = x[start : start + block], y[start : start + block]
        mean = train.mean(1, keepdim=True)
        z = train - mean
        covariance = torch.bmm(z.mT, z) / (z.shape[1] - 1)
        covariance.diagonal(dim1=-2, dim2=-1).add_(EPS)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
        delta = new - mean
        out.append((torch.bmm(delta, inverse) * delta).sum(-1).clamp(min=0).sqrt())
    return torch.cat(out).T.reshape(-1, *test[-1].shape[-2:])


def textbook(train: list, test: list, positions: int) -> tuple[float, np.ndarray]:
    """Seconds for all positions, from a few: np.cov, np.linalg.inv, then scipy's mahalanobis image by image."""
    x, y = (aligned(levels).cpu().numpy() for levels in (train, test))
    chosen = np.linspace(0, len(x) - 1, positions).astype(int)
    start = time.perf_counter()
    distances = np.empty((positions, y.shape[1]))
    for row, p in enumerate(chosen):
        inverse = np.linalg.inv(np.cov(x[p], rowvar=False) + EPS * np.eye(x.shape[2]))
        mean = x[p].mean(0)
        distances[row] = [mahalanobis(vector, mean, inverse) for vector in y[p]]
    return (time.perf_counter() - start) * len(x) / positions, distances


def timed(way, *given) -> tuple[float, torch.Tensor]:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = way(*given)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def measure(case: str, n: int, m: int, rounds: int, device: str) -> dict:
    """All ways in turn, `rounds` times."""
    train, test = features(case, n, 0, device), features(case, m, 1, device)
    ways = {"multi-resolution": multi_resolution, "low-rank": low_rank, "dense": dense}
    seconds: dict[str, list[float]] = {name: [] for name in (*ways, "textbook")}
    results = {}
    for _ in range(rounds):
        for name, way in ways.items():
            spent, results[name] = timed(way, train, test)
            seconds[name].append(spent)
        spent, _ = textbook(train, test, 12)
        seconds["textbook"].append(spent)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    top = float(results["dense"].max())
    taken = "low-rank" if is_cheaper(train, n) else "multi-resolution"  # what a detector takes by itself
    fitted = LowRankGaussians.fit(train, EPS) if taken == "low-rank" else fit_ours(train)
    return {
        "case": case,
        "n_train": n,
        "n_test": m,
        "taken": taken,
        "median_seconds": {name: round(value, 3) for name, value in medians.items()},
        "times_faster_than_dense": round(medians["dense"] / medians[taken], 1),
        "times_faster_than_textbook": round(medians["textbook"] / medians[taken], 1),
        "largest_difference_from_dense": float((results[taken] - results["dense"]).abs().max()) / top,
        **sizes(fitted),
    }


def sizes(g: PatchGaussians | LowRankGaussians) -> dict:
    """MiB of the saved model (triangles packed) beside the full inverse covariances."""
    numbers = sum(tensor.numel() for tensor in g.tensors().values())
    d = sum(mean.shape[1] for mean in g.mean)
    full = g.grids[-1][0] * g.grids[-1][1] * d * (d + 1)
    return {"model_mib": round(numbers * 4 / 2**20, 1), "dense_inverse_mib": round(full * 4 / 2**20, 1)}


def memory(case: str, n: int) -> float:
    """Peak MB of a process that fits n images, made and forgotten batch by batch."""
    command = [sys.executable, __file__, "--case", case, "--memory", str(n)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def only_fit(case: str, n: int) -> float:
    parts = (features(case, min(BATCH, n - start), start, "cpu") for start in range(0, n, BATCH))
    first = next(parts)
    if is_cheaper(first, n):
        LowRankGaussians.fit([torch.cat(level) for level in zip(first, *parts, strict=True)], EPS)
    else:
        moments = Moments.from_features(first)
        for part in parts:
            moments.add(part)
        PatchGaussians.fit(moments, EPS)
    return peak_memory_mb()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", type=int, help="only fit this many images and print the peak memory")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.memory:
        print(only_fit(arguments.case, arguments.memory))
        return
    rows = []
    for case in [arguments.case] if arguments.case else CASES:
        row = measure(case, 209, 83, arguments.rounds, arguments.device)
        row["peak_mb_by_n"] = {n: round(memory(case, n), 1) for n in (60, 200, 2000)}
        rows.append(row)
        print(json.dumps(row, indent=2), flush=True)
    if arguments.out:
        machine = {"processor": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"device": arguments.device, **machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
