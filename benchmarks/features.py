"""How far one sees without having seen the world: backbones beside each other under one fixed protocol.

python benchmarks/features.py [--data twin photographs screw] [--seeds 0 1 2] [--imagenet FILE] [--screw FOLDER]
                              [--out data/records/features.json]

Rows: ResNet-18 with random weights (three draws, batch statistics taken on the good images), the bank of filters given
by formula, noisenet18 as shipped, ImageNet's ResNet-18 where its file is given. Columns: PaDiM (100 random dimensions,
eps 0.01, sigma 4) and the distance to the nearest of 8,000 patches of good images. Data: the twin; scikit-image's
photographs (brick, grass, gravel) in tiles, with defects pasted on; a folder such as one MVTec AD category. All was
fixed before looking; nothing is selected on these data; the table prints all rows whatever they say.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from skimage import data as photographs

from padim_nb import load_category
from padim_nb.data.images import Frame, image_batches, masks
from padim_nb.efficientad.checkpoints import settle
from padim_nb.evaluation.metrics import auroc
from padim_nb.features.backbones import Backbone, backbone
from padim_nb.features.dimensions import joined
from padim_nb.padim.gaussian import PatchGaussians
from padim_nb.padim.moments import Moments
from padim_nb.padim.settings import Selection
from padim_nb.padim.smoothing import smooth
from padim_nb.util.machine import machine
from padim_nb.util.mvtec_counts import CATEGORIES

SIDE, DIMENSIONS, EPS, SIGMA, PATCHES = 256, 100, 0.01, 4.0, 8000
FRAME = Frame((SIDE, SIDE))


@dataclass
class Task:
    """One category: good pictures to learn from, pictures to judge, their labels and masks."""

    group: str
    name: str
    train: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None


def of_category(group: str, name: str, root: str) -> Task:
    parts = load_category(name, root)
    train, test = (np.concatenate(list(image_batches(some, FRAME))) for some in (parts.train, parts.test))
    labels = np.array([sample.label for sample in parts.test])
    known = all(sample.mask is not None for sample in parts.test if sample.label)
    return Task(group, name, train, test, labels, np.asarray(masks(parts.test, FRAME)) if known else None)


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
        found = np.stack([photo[r : r + 128, c : c + 128] for r, c in corners])
        return found.repeat(2, 1).repeat(2, 2)

    train, test = tiles(60, 0, half), tiles(60, half, len(photo))
    truth = np.zeros((60, SIDE, SIDE), bool)
    for number in range(20, 60):
        blob = gaussian_filter(rng.standard_normal((SIDE, SIDE)), 18)
        size = int(rng.integers(24, 60))
        r, c = rng.integers(10, SIDE - size - 10, 2)
        window = np.zeros((SIDE, SIDE), bool)
        window[r : r + size, c : c + size] = True
        where = window & (blob > np.quantile(blob[window], 0.35))
        truth[number], own = where, test[number]
        kind = number % 4
        if kind == 0:
            own[where] = gaussian_filter(own, (3, 3, 0))[where]
        elif kind == 1:
            own[where] = rng.permutation(own[where])
        elif kind == 2:
            own[where] = np.rot90(own)[where]
        else:
            own[where] = own[where] * 0.8 + np.array([25, 5, -15]) * rng.choice([-1, 1])
    labels = truth.any((1, 2)).astype(int)
    return Task("photographs", name, *(np.clip(x, 0, 255).astype(np.uint8) for x in (train, test)), labels, truth)


@torch.inference_mode()
def levels_of(net: Backbone, seed: int, shown: np.ndarray) -> Iterator[list[torch.Tensor]]:
    chosen = Selection("random", min(DIMENSIONS, sum(net.channels)), seed).embedding(net.channels)
    for some in torch.from_numpy(shown).split(20):
        yield chosen.features(net(net.normalize(some)))


def padim(net: Backbone, seed: int, task: Task) -> np.ndarray:
    moments = None
    for levels in levels_of(net, seed, task.train):
        moments = Moments.from_features(levels) if moments is None else moments.add(levels)
    fitted = PatchGaussians.fit(moments, EPS)
    found = [fitted.distances(levels) for levels in levels_of(net, seed, task.test)]
    return smooth(torch.cat(found), (SIDE, SIDE), SIGMA).numpy()


@torch.inference_mode()
def nearest(net: Backbone, seed: int, task: Task) -> np.ndarray:
    """Distance of each patch to the nearest of some patches of good pictures, wherever they were; on a 32 x 32 grid."""

    def vectors(shown: np.ndarray) -> torch.Tensor:
        whole = torch.cat([joined(levels) for levels in levels_of(net, seed, shown)])
        return torch.nn.functional.adaptive_avg_pool2d(whole, 32).permute(0, 2, 3, 1)

    train = vectors(task.train).flatten(0, 2)
    mean, deviation = train.mean(0), train.std(0) + 1e-6
    kept = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:PATCHES]
    memory = ((train - mean) / deviation)[kept]
    test = (vectors(task.test) - mean) / deviation
    found = torch.stack([torch.cdist(each.flatten(0, 1), memory).amin(1).view(32, 32) for each in test])
    return smooth(found, (SIDE, SIDE), SIGMA).numpy()


def rows(imagenet: Path | None, seeds: list[int]) -> Iterator[tuple[str, int, Backbone, bool]]:
    """(row, seed, network, whether its batch statistics are to be taken on the good pictures)."""
    for seed in seeds:
        yield "random", seed, backbone("resnet18", "random", seed), True
        if seed == seeds[0]:  # nothing in it is drawn
            yield "formula", seed, backbone("gabor"), False
        yield "noisenet18", seed, backbone("noisenet18"), False
        if imagenet:
            yield "imagenet", seed, backbone("resnet18", str(imagenet)), False


def judged(maps: np.ndarray, task: Task) -> dict[str, float]:
    found = {"image": auroc(maps.reshape(len(maps), -1).max(1), task.labels)}
    if task.masks is not None:
        found["pixel"] = auroc(maps.ravel(), task.masks.ravel())
    return {name: round(float(value), 4) for name, value in found.items()}


def tasks(arguments: argparse.Namespace) -> Iterator[Task]:
    if "twin" in arguments.data:
        yield from (of_category("twin", name, "twin:lite") for name in CATEGORIES)
    if "photographs" in arguments.data:
        yield from (pasted(name) for name in ("brick", "grass", "gravel"))
    if "screw" in arguments.data and arguments.screw:
        yield of_category("real screw", arguments.screw.name, str(arguments.screw.parent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="*", default=["twin", "photographs", "screw"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--imagenet", type=Path, help="a file of ImageNet's ResNet-18")
    parser.add_argument("--screw", type=Path, help="a folder in MVTec AD's layout")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found = []
    for task in tasks(arguments):
        for row, seed, net, calibrate in rows(arguments.imagenet, arguments.seeds):
            if calibrate:
                settle(net, [net.normalize(some) for some in torch.from_numpy(task.train).split(20)])
            for way in (padim, nearest):
                if way is nearest and seed != arguments.seeds[0]:
                    continue
                entry = {"data": task.group, "category": task.name, "row": row, "seed": seed, "way": way.__name__}
                found.append(entry | judged(way(net, seed, task), task) | {"weights": net.weights["sha256"][:12]})
        print(task.group, task.name, summary(found, task), flush=True)
    if arguments.out:
        text = json.dumps({"machine": machine("cpu"), "rows": found}, indent=1)
        arguments.out.write_text(text + "\n")
    print(table(found))


def summary(found: list[dict], task: Task) -> str:
    mine = [each for each in found if each["category"] == task.name and each["way"] == "padim"]
    names = dict.fromkeys(each["row"] for each in mine)
    return "  ".join(f"{name} {np.mean([e['image'] for e in mine if e['row'] == name]):.3f}" for name in names)


def table(found: list[dict]) -> str:
    """Means over categories and seeds: image and pixel AUROC of each row, way and kind of data."""
    lines = [f"{'data':<14}{'row':<12}{'way':<9}{'image':>7}{'pixel':>7}"]
    for group in dict.fromkeys(each["data"] for each in found):
        for way in ("padim", "nearest"):
            for row in dict.fromkeys(each["row"] for each in found):
                mine = [e for e in found if (e["data"], e["row"], e["way"]) == (group, row, way)]
                if mine:
                    pixel = [e["pixel"] for e in mine if "pixel" in e]
                    shown = f"{np.mean(pixel):7.3f}" if pixel else "      -"
                    lines.append(f"{group:<14}{row:<12}{way:<9}{np.mean([e['image'] for e in mine]):7.3f}{shown}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
