"""What are features worth? Backbones beside each other under one fixed protocol.

python benchmarks/features.py [--data twin photographs screw] [--seeds 0 1 2] [--resnet18 FILE] [--screw FOLDER]
                              [--out data/records/features.json]
python benchmarks/features.py --layers [--screw FOLDER] [--out data/records/lite0-layers.json]

Rows: ResNet-18 with random weights (three draws, batch statistics of the good images), Gabor filters, ImageNet's
EfficientNet-Lite0, ImageNet's ResNet-18 where its file is given. Columns: PaDiM (100 random dimensions or all, where
there are fewer; eps 0.01, sigma 4) and the distance to the nearest of 8,000 patches of good images. Data: the twin;
scikit-image's photographs (brick, grass, gravel) in tiles, with defects pasted on; a folder such as one MVTec AD
category. All of this was fixed before any result was seen, nothing is selected on these data, and the table prints all
rows.

With --layers: the dimensions of `padim-lite0`, which are chosen by this comparison, on four categories of the twin and
on one folder of real images only.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from skimage import data as photographs
from torch import nn

from padim_nb import load_category
from padim_nb.data.images import Frame, image_batches, masks
from padim_nb.evaluation.intervals import bootstrap_auroc
from padim_nb.evaluation.metrics import auroc
from padim_nb.features.backbones import Backbone, backbone
from padim_nb.features.dimensions import joined
from padim_nb.padim.gaussian import PatchGaussians
from padim_nb.padim.moments import Moments
from padim_nb.padim.settings import Selection
from padim_nb.padim.smoothing import smooth
from padim_nb.util.machine import commit, machine
from padim_nb.util.mvtec_counts import CATEGORIES

SIDE, DIMENSIONS, EPS, SIGMA, PATCHES, BATCH = 256, 100, 0.01, 4.0, 8000, 20
FRAME = Frame((SIDE, SIDE))
LAYERS_TRIED = {
    "strides 4, 8, 16: 100 of 176": Selection("random", 100, 1024),
    "strides 4, 8, 16: all 176": Selection("all"),
    "strides 8, 16: 100 of 152": Selection("random", 100, 1024, layers=(1, 2)),
    "strides 8, 16: all 152": Selection("all", layers=(1, 2)),
}
LAYERS_CATEGORIES = ("carpet", "cable", "metal_nut", "screw")


@dataclass
class Task:
    """One category: framed good images to fit, images to judge (n, height, width, 3), their labels and masks."""

    data: str
    name: str
    train: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None


def of_category(data: str, name: str, root: str) -> Task:
    parts = load_category(name, root)
    train, test = (np.concatenate(list(image_batches(samples, FRAME))) for samples in (parts.train, parts.test))
    labels = np.array([sample.label for sample in parts.test])
    known = all(sample.mask is not None for sample in parts.test if sample.label)
    return Task(data, name, train, test, labels, np.asarray(masks(parts.test, FRAME)) if known else None)


def pasted(name: str, seed: int = 0) -> Task:
    """Tiles of a photograph; two thirds of the test tiles carry a blurred, a shuffled, a turned or a tinted patch."""
    photo = np.asarray(getattr(photographs, name)(), dtype=np.float32)
    photo = photo if photo.ndim == 3 else np.repeat(photo[..., None], 3, 2)
    rng = np.random.default_rng([seed, len(name)])
    half = len(photo) // 2

    def tiles(count: int, top: int, bottom: int) -> np.ndarray:
        corners = [
            (rng.integers(top, bottom - 128 + 1), rng.integers(0, photo.shape[1] - 128 + 1)) for _ in range(count)
        ]
        cut = np.stack([photo[r : r + 128, c : c + 128] for r, c in corners])
        return cut.repeat(2, 1).repeat(2, 2)

    train, test = tiles(60, 0, half), tiles(60, half, len(photo))
    truth = np.zeros((60, SIDE, SIDE), bool)
    for number in range(20, 60):
        blob = gaussian_filter(rng.standard_normal((SIDE, SIDE)), 18)
        size = int(rng.integers(24, 60))
        r, c = rng.integers(10, SIDE - size - 10, 2)
        window = np.zeros((SIDE, SIDE), bool)
        window[r : r + size, c : c + size] = True
        where = window & (blob > np.quantile(blob[window], 0.35))
        truth[number], image = where, test[number]
        kind = number % 4
        if kind == 0:
            image[where] = gaussian_filter(image, (3, 3, 0))[where]
        elif kind == 1:
            image[where] = rng.permutation(image[where])
        elif kind == 2:
            image[where] = np.rot90(image)[where]
        else:
            image[where] = image[where] * 0.8 + np.array([25, 5, -15]) * rng.choice([-1, 1])
    labels = truth.any((1, 2)).astype(int)
    return Task("photographs", name, *(np.clip(x, 0, 255).astype(np.uint8) for x in (train, test)), labels, truth)


@torch.inference_mode()
def features(net: Backbone, selection: Selection, images: np.ndarray) -> Iterator[list[torch.Tensor]]:
    embedding = selection.embedding(net.channels)
    for batch in torch.from_numpy(images).split(BATCH):
        yield embedding.features(net(net.normalize(batch)))


def padim(net: Backbone, selection: Selection, task: Task) -> np.ndarray:
    """Anomaly maps (n, height, width)."""
    moments: Moments | None = None
    for batch in features(net, selection, task.train):
        moments = Moments.from_features(batch) if moments is None else moments.add(batch)
    fitted = PatchGaussians.fit(moments, EPS)
    distances = [fitted.distances(batch) for batch in features(net, selection, task.test)]
    return smooth(torch.cat(distances), (SIDE, SIDE), SIGMA).numpy()


@torch.inference_mode()
def nearest(net: Backbone, selection: Selection, task: Task) -> np.ndarray:
    """Distance of each patch to the nearest patch of good images, wherever that was; on a 32 x 32 grid."""

    def vectors(images: np.ndarray) -> torch.Tensor:
        whole = torch.cat([joined(batch) for batch in features(net, selection, images)])
        return torch.nn.functional.adaptive_avg_pool2d(whole, 32).permute(0, 2, 3, 1)

    train = vectors(task.train).flatten(0, 2)
    mean, deviation = train.mean(0), train.std(0) + 1e-6
    drawn = torch.randperm(len(train), generator=torch.Generator().manual_seed(selection.seed))[:PATCHES]
    memory = ((train - mean) / deviation)[drawn]
    test = (vectors(task.test) - mean) / deviation
    distances = torch.stack([torch.cdist(image.flatten(0, 1), memory).amin(1).view(32, 32) for image in test])
    return smooth(distances, (SIDE, SIDE), SIGMA).numpy()


@torch.no_grad()
def use_statistics_of(net: Backbone, images: np.ndarray) -> None:
    """Set the means and variances of batch norm to those of these images."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the average over all batches
        norm.train()
    for batch in torch.from_numpy(images).split(BATCH):
        net(net.normalize(batch))
    net.eval()


def rows(resnet18: Path | None, seeds: list[int]) -> Iterator[tuple[str, int, Backbone]]:
    """(row, seed of everything drawn, network)."""
    for seed in seeds:
        yield "random", seed, backbone("resnet18", "random", seed)
        if seed == seeds[0]:  # all of its 62 channels are used: nothing is drawn
            yield "gabor", seed, backbone("gabor")
        yield "lite0", seed, backbone("efficientnet-lite0")
        if resnet18:
            yield "resnet18", seed, backbone("resnet18", str(resnet18))


def figures(maps: np.ndarray, task: Task) -> dict[str, object]:
    """AUROC of images, with a 95 % bootstrap interval over images, and of pixels where there are masks."""
    scores = maps.reshape(len(maps), -1).max(1)
    interval = bootstrap_auroc(scores[task.labels == 0], scores[task.labels == 1])
    measured: dict[str, object] = {
        "image": round(float(auroc(scores, task.labels)), 4),
        "image_interval": [round(value, 4) for value in interval],
    }
    if task.masks is not None:
        measured["pixel"] = round(float(auroc(maps.ravel(), task.masks.ravel())), 4)
    return measured


def tasks(arguments: argparse.Namespace) -> Iterator[Task]:
    if "twin" in arguments.data:
        categories = LAYERS_CATEGORIES if arguments.layers else CATEGORIES
        yield from (of_category("twin", name, "twin:lite") for name in categories)
    if "photographs" in arguments.data and not arguments.layers:
        yield from (pasted(name) for name in ("brick", "grass", "gravel"))
    if "screw" in arguments.data and arguments.screw:
        yield of_category("real screw", arguments.screw.name, str(arguments.screw.parent))


def compare_backbones(task: Task, arguments: argparse.Namespace) -> Iterator[dict]:
    for row, seed, net in rows(arguments.resnet18, arguments.seeds):
        if row == "random":
            use_statistics_of(net, task.train)
        selection = Selection("random", min(DIMENSIONS, sum(net.channels)), seed)
        for way in (padim, nearest):
            if way is padim or seed == arguments.seeds[0]:
                entry = {"data": task.data, "category": task.name, "row": row, "seed": seed, "way": way.__name__}
                yield entry | figures(way(net, selection, task), task) | {"weights": net.weights["sha256"][:12]}


def compare_layers(task: Task) -> Iterator[dict]:
    net = backbone("efficientnet-lite0")
    for row, selection in LAYERS_TRIED.items():
        entry = {"data": task.data, "category": task.name, "row": row, "way": "padim", "selection": asdict(selection)}
        yield entry | figures(padim(net, selection, task), task) | {"weights": net.weights["sha256"][:12]}


def table(entries: list[dict]) -> str:
    """Means over categories and seeds: image and pixel AUROC of each row, way and kind of data."""
    lines = [f"{'data':<14}{'row':<30}{'way':<9}{'image':>7}{'pixel':>7}"]
    for data, way, row in dict.fromkeys((entry["data"], entry["way"], entry["row"]) for entry in entries):
        group = [e for e in entries if (e["data"], e["way"], e["row"]) == (data, way, row)]
        pixel = [e["pixel"] for e in group if "pixel" in e]
        image = np.mean([e["image"] for e in group])
        lines.append(f"{data:<14}{row:<30}{way:<9}{image:7.3f}" + (f"{np.mean(pixel):7.3f}" if pixel else "      -"))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="*", default=["twin", "photographs", "screw"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--resnet18", type=Path, help="a file of ImageNet's ResNet-18")
    parser.add_argument("--screw", type=Path, help="a folder in MVTec AD's layout")
    parser.add_argument("--layers", action="store_true", help="compare the layers and dimensions of Lite0 instead")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    entries: list[dict] = []
    for task in tasks(arguments):
        entries += compare_layers(task) if arguments.layers else compare_backbones(task, arguments)
        print(task.data, task.name, len(entries), "entries", flush=True)
    if arguments.out:
        record = {"machine": machine("cpu"), "commit": commit(), "rows": entries}
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    print(table(entries))


if __name__ == "__main__":
    main()
