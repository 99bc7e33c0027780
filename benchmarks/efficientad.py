"""EfficientAD beside anomalib's EfficientAd: steps a second, images a second, and whether both compute the same.

python benchmarks/efficientad.py [--size small] [--steps 8] [--rounds 3] [--device cpu] [--out FILE]

Run it in the environment of anomalib (see README.md) for the comparison; without anomalib its columns say so. Both get
the same weights, and images that are in memory already: no decoding on either side. One step of anomalib is its
model's own loss terms, backward and Adam, without its trainer around it. On a GPU also: latency at batch 1 in float16
with and without transfers, images a second at 16 and 64, and the time for 70,000 steps as measured over many.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import torch

from padim_nb.efficientad import pdn, winograd
from padim_nb.efficientad.model import AnomalyMapModel
from padim_nb.efficientad.settings import Training
from padim_nb.efficientad.teacher import standardized
from padim_nb.efficientad.training import StudentTrainer
from padim_nb.util.devices import has_fast_bf16

IMAGES = 24


def fresh(size: str, device: str) -> tuple[pdn.PatchDescription, pdn.Pair, torch.Tensor]:
    """A teacher, a pair and images, uint8 (n, 256, 256, 3), from one seed."""
    torch.manual_seed(0)
    teacher, pair = pdn.teacher(size), pdn.Pair(pdn.student(size), pdn.autoencoder())
    shown = torch.randint(0, 256, (IMAGES, 256, 256, 3), dtype=torch.uint8)
    layout = {"memory_format": torch.channels_last}
    return teacher.to(device, **layout).eval(), pair.to(device, **layout), shown.to(device)


def clocked(job: Callable[[], object], device: str) -> float:
    """Seconds of one call, all work on the device done."""
    _wait(device)
    start = time.perf_counter()
    job()
    _wait(device)
    return time.perf_counter() - start


def trainer_step(size: str, device: str, bf16: bool, graph: bool = True) -> Callable[[int], object]:
    """Our training step; on a GPU as a graph, or not."""
    teacher, pair, shown = fresh(size, device)
    teacher, _ = standardized(teacher, shown)
    trainer = StudentTrainer(teacher, pair, shown, shown.flip(0), Training(bf16=bf16))
    if not graph:
        trainer._captured = None
    pair.train()
    return trainer.step


def by_torch(step: Callable[[int], object]) -> Callable[[int], object]:
    """A training step whose convolutions are all torch's own."""

    def plain(number: int) -> object:
        with patch.object(winograd, "is_faster", lambda *_: False):
            return step(number)

    return plain


def peer(size: str, device: str) -> tuple[torch.nn.Module, Callable[[int], object]]:
    """anomalib's model with the same weights and statistics, and a training step of it."""
    from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel

    teacher, pair, shown = fresh(size, device)
    model = EfficientAdModel(model_size=size).to(device)
    model.teacher.load_state_dict(teacher.state_dict())
    model.student.load_state_dict(pair.student.state_dict())
    model.ae.load_state_dict(pair.autoencoder.state_dict())
    inputs = shown.permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        outputs = torch.cat([model.teacher(batch) for batch in inputs.split(4)]).double()
        model.mean_std["mean"].copy_(outputs.mean((0, 2, 3), keepdim=True))
        model.mean_std["std"].copy_(outputs.std((0, 2, 3), keepdim=True, correction=0))
    optimizer = torch.optim.Adam([*model.student.parameters(), *model.ae.parameters()], lr=1e-4, weight_decay=1e-5)

    def step(number: int) -> None:
        index = number % IMAGES
        model.train()
        terms = model(inputs[index : index + 1], inputs[IMAGES - 1 - index : IMAGES - index])
        optimizer.zero_grad()
        sum(terms).backward()
        optimizer.step()
        for term in terms:
            term.item()  # its trainer logs each of them at each step

    return model, step


def agreement(size: str) -> dict[str, float]:
    """The largest differences of all outputs from anomalib's, same weights, same images, zeros at the border."""
    teacher, pair, shown = fresh(size, "cpu")
    model, _ = peer(size, "cpu")
    model.eval()
    levels = [(0.2, 0.9), (0.1, 0.8)]
    for name, value in zip(("qa_st", "qb_st", "qa_ae", "qb_ae"), (*levels[0], *levels[1]), strict=True):
        model.quantiles[name].data.fill_(value)
    mapper = AnomalyMapModel(standardized(teacher, shown)[0], pair, "raw-zero", (256, 256)).eval()
    mapper.set_levels(levels)
    x = shown[:2].permute(0, 3, 1, 2).float() / 255
    from padim_nb.features.backbones import normalized

    with torch.inference_mode():
        z = normalized(x)
        pairs = {
            "teacher": (teacher(z), model.teacher(x)),
            "student": (pair.student(z), model.student(x)),
            "autoencoder": (pair.autoencoder(z), model.ae(x, (256, 256))),
            "map": (mapper(shown[:2]), model(x).anomaly_map[:, 0]),
        }
    return {name: float((a - b).abs().max()) for name, (a, b) in pairs.items()}


def training(size: str, steps: int, rounds: int, device: str) -> dict:
    """Steps a second of all ways in turn."""
    ways: dict[str, Callable[[int], object]] = {"ours float32": trainer_step(size, device, False)}
    if device == "cpu":
        ways["ours float32, convolutions by torch"] = by_torch(trainer_step(size, device, False))
    if has_fast_bf16(device):
        ways["ours bfloat16"] = trainer_step(size, device, True)
    if device != "cpu":
        ways["ours bfloat16, no graph"] = trainer_step(size, device, True, graph=False)
    with suppress(ImportError):
        ways["anomalib"] = peer(size, device)[1]
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, step in ways.items():
            seconds = clocked(lambda step=step, turn=turn: [step(turn * steps + i) for i in range(steps)], device)
            if turn:  # the first turn warms up
                spent[name].append(seconds / steps)
    medians = {name: statistics.median(values) for name, values in spent.items()}
    row = {"steps_a_second": {name: round(1 / value, 3) for name, value in medians.items()}}
    if "ours bfloat16" not in medians:
        row["steps_a_second"]["ours bfloat16"] = "not measured: this processor has no instructions for it"
    if "anomalib" in medians:
        row["times_faster_than_anomalib"] = {
            name: round(medians["anomalib"] / value, 2) for name, value in medians.items() if name != "anomalib"
        }
    best = min(value for name, value in medians.items() if name != "anomalib")
    row["minutes_for_70000_steps"] = round(70_000 * best / 60, 1)
    return row


def inference(size: str, rounds: int, device: str) -> dict:
    """Images a second, and on a GPU the latency of one."""
    teacher, pair, shown = fresh(size, device)
    mapper = AnomalyMapModel(standardized(teacher, shown)[0], pair, "replicate", (256, 256)).eval().to(device)
    batches = (1, 16, 64) if device != "cpu" else (1, 8)
    ways: dict[str, Callable[[int], object]] = {"ours": lambda n: mapper(_repeated(shown, n))}
    with suppress(ImportError):
        model = peer(size, device)[0].eval()
        ways["anomalib"] = lambda n: model(_repeated(shown, n).permute(0, 3, 1, 2).float() / 255)
    row: dict[str, object] = {}
    with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=device != "cpu"):
        for n in batches:
            spent: dict[str, list[float]] = {name: [] for name in ways}
            for turn in range(rounds + 1):
                for name, way in ways.items():
                    seconds = clocked(lambda way=way, n=n: way(n), device)
                    if turn:
                        spent[name].append(seconds)
            medians = {name: statistics.median(values) for name, values in spent.items()}
            row[f"images_a_second_batch_{n}"] = {name: round(n / value, 2) for name, value in medians.items()}
        if device == "cpu":
            row["latency_ms_batch_1_float16"] = "not measured: no GPU here"
        else:
            one = shown[:1].cpu().pin_memory()
            without = [clocked(lambda: mapper(shown[:1]), device) for _ in range(200)][100:]
            whole = [clocked(lambda: mapper(one.to(device, non_blocking=True)).cpu(), device) for _ in range(200)][100:]
            row["latency_ms_batch_1_float16"] = round(1e3 * statistics.median(without), 3)
            row["latency_ms_batch_1_float16_with_transfers"] = round(1e3 * statistics.median(whole), 3)
            row["peak_gpu_mb"] = round(torch.cuda.max_memory_allocated() / 1e6)
    return row


def _repeated(shown: torch.Tensor, n: int) -> torch.Tensor:
    return shown.repeat(-(-n // len(shown)), 1, 1, 1)[:n]


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("small", "medium"), default="small")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    size, device = arguments.size, arguments.device
    try:
        same = agreement(size)
    except ImportError:
        same = "not measured: anomalib is not in this environment"
    record = {
        "size": size,
        "device": device if device == "cpu" else torch.cuda.get_device_name(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "largest_difference_from_anomalib": same,
        "training": training(size, arguments.steps, arguments.rounds, device),
        "inference": inference(size, arguments.rounds, device),
        "gpu": "not measured: no GPU here" if device == "cpu" else "above",
    }
    print(json.dumps(record, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
