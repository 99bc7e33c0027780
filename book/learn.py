"""Builds what the page *Teach it your part* runs in a reader's browser: the network, its settings, ten images to try.

python book/learn.py           (`make book` calls it; what is up to date is skipped)
python book/learn.py --still   (draws book/images/learn.png, shown where scripts are off)

The page fits the recipe `padim-lite0` itself. What is needed for that comes from here, so that no number is written
twice: the network up to its chosen layers as an ONNX graph, and the settings.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from live import in_half_precision, megabytes, unless_fresh
from matplotlib import colormaps
from PIL import Image
from torch import Tensor, nn

from padim_nb import load_category
from padim_nb.data.images import image_batches
from padim_nb.data.mvtec import Category, Sample
from padim_nb.deploy.export import OPSET
from padim_nb.evaluation.thresholds import FALSE_ALARM
from padim_nb.experiments.recipes import RECIPES
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.shrinkage import LARGEST_SHARE, SMALLEST
from padim_nb.plots import figures

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "_build" / "vendor" / "learn"
RECIPE, CATEGORY = "padim-lite0", "bottle"
MOST = 50  # good images that the page learns from: enough to try, little enough for a phone
GOOD = 10
SHOWN = ("good", "broken_large", "broken_small", "contamination")  # of the test images, one button each
QUALITY = 92


class Features(nn.Module):
    """Framed images, uint8 (n, height, width, 3) -> the chosen layers, coarse to fine."""

    def __init__(self, detector: PaDiM) -> None:
        super().__init__()
        self.detector, self.backbone = detector, detector.backbone

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features as the detector's `extract` gives them."""
        return tuple(self.detector.embedding.features(self.backbone(self.backbone.normalize(images))))


def main() -> int:
    """Build whatever is missing or older than its sources."""
    if "--still" in sys.argv[1:]:
        return still()
    unless_fresh(TARGET, [Path(__file__), ROOT / "book" / "live.py"], _write)
    print(f"learning page: {megabytes(TARGET):.1f} MB beside the runtime")
    return 0


def write_network(path: Path, detector: PaDiM) -> list[list[int]]:
    """Write the graph from images to features, weights as float16; the shape of each layer, coarse to fine."""
    height, width = _size(detector)
    images = torch.zeros(1, height, width, 3, dtype=torch.uint8)
    graph = Features(detector).eval()
    with torch.inference_mode():
        shapes = [list(layer.shape[1:]) for layer in graph(images)]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.inference_mode():
        warnings.simplefilter("ignore")
        names = [f"layer{number}" for number in range(len(shapes))]
        torch.onnx.export(
            graph, (images,), str(path), input_names=["images"], output_names=names, opset_version=OPSET, dynamo=False
        )
    onnx.save(in_half_precision(onnx.load(path)), path)
    return shapes


def write_samples(folder: Path, detector: PaDiM) -> dict[str, list[dict[str, str]]]:
    """Write the images to try as small JPEGs in the detector's frame: good ones to learn, others to judge."""
    category: Category = load_category(CATEGORY, "twin:lite")
    unseen = [next(s for s in category.test if s.defect == defect) for defect in SHOWN]
    rows: dict[str, list[dict[str, str]]] = {}
    for group, samples in (("good", category.train[:GOOD]), ("new", unseen)):
        rows[group] = []
        for number, sample in enumerate(samples):
            name = f"{group}-{number}.jpg"
            framed = next(image_batches([sample], detector.settings.frame, 1))[0]
            Image.fromarray(framed).save(folder / name, quality=QUALITY)
            rows[group].append({"file": name, "defect": sample.defect.replace("_", " ")})
    return rows


def facts(detector: PaDiM, shapes: list[list[int]], samples: dict[str, list[dict[str, str]]]) -> dict[str, object]:
    """What the page has to know: settings and shapes."""
    settings = detector.settings
    taken = (settings.eps, settings.border, settings.upsample, settings.frame.resample, settings.frame.crop)
    if taken != ("oas", "reflect", "bilinear", "bilinear", None):
        raise RuntimeError(f"learn.js knows padim-lite0's shrinkage, blur and frame, not {taken}")
    return {
        "recipe": RECIPE,
        "weights": detector.weights["sha256"],
        "size": _size(detector),
        "shapes": shapes,
        "shrinkage": {"smallest": SMALLEST, "largest_share": LARGEST_SHARE},
        "sigma": settings.sigma,
        "score": settings.score,
        "false_alarm": FALSE_ALARM,
        "most": MOST,
        "category": CATEGORY,
        "samples": samples,
    }


def samples_of(folder: Path) -> tuple[list[Sample], list[Sample]]:
    """The images to learn and to judge that `write_samples` wrote to a folder."""
    rows = json.loads((folder / "learn.json").read_text())["samples"]
    good, new = ([Sample(folder / row["file"], 0, row["defect"]) for row in rows[group]] for group in ("good", "new"))
    return good, new


def still() -> int:
    """Draw the page as a still image: ten good parts, a defective one, its map."""
    with tempfile.TemporaryDirectory() as folder:
        detector = PaDiM.from_settings(RECIPES[RECIPE].settings, "cpu")
        rows = write_samples(Path(folder), detector)
        good, new = ([Sample(Path(folder) / row["file"], 0, row["defect"]) for row in rows[g]] for g in ("good", "new"))
        limit = detector.fit(good).calibrate(good, FALSE_ALARM).value
        defective = new[1]
        heat = colormaps[figures.HEAT](np.clip(detector.score([defective])[0] / (1.5 * limit), 0, 1))[..., :3] * 255
        learned, judged = (np.concatenate(list(image_batches(group, detector.settings.frame))) for group in (good, new))
    image = Image.new("RGB", (5 * 100 + 2 * 216, 208), figures.DARK)
    for number, framed in enumerate(learned):
        place = (number % 5 * 100, number // 5 * 104)
        image.paste(Image.fromarray(framed).resize((96, 100), Image.Resampling.LANCZOS), place)
    for number, framed in enumerate((judged[1], heat.astype(np.uint8))):
        image.paste(Image.fromarray(framed).resize((208, 204), Image.Resampling.LANCZOS), (508 + number * 216, 0))
    image.save(ROOT / "book" / "images" / "learn.png", optimize=True)
    return 0


def _write() -> None:
    detector = PaDiM.from_settings(RECIPES[RECIPE].settings, "cpu")
    samples = write_samples(TARGET, detector)
    shapes = write_network(TARGET / "features.onnx", detector)
    (TARGET / "learn.json").write_text(json.dumps(facts(detector, shapes, samples)))


def _size(detector: PaDiM) -> tuple[int, int]:
    height, width = detector.settings.frame.resized(1, 1)
    return height, width


if __name__ == "__main__":
    sys.exit(main())
