"""Computes what the interactive figures show, and draws their still images.

python book/figures.py [threshold] [dimensions] [training] [stills]     (all unless some are named; minutes)

Writes data/records/drawn-dimensions.json, book/_static/figures-data.js and, by a Chromium of yours, the images in
book/images/touch/. Run it after a change of the renderer, the backbone or `figures.js`, and look at the result.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image
from safetensors import safe_open
from scipy.ndimage import label
from torch import Tensor

from padim_nb import load_category, recipe
from padim_nb.data.images import Frame, image_batches, masks
from padim_nb.data.mvtec import Sample
from padim_nb.evaluation.metrics import auroc
from padim_nb.features.backbones import backbone
from padim_nb.padim.gaussian import PatchGaussians
from padim_nb.padim.moments import Moments
from padim_nb.padim.settings import Selection
from padim_nb.padim.smoothing import smooth
from padim_nb.plots import figures

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "book" / "_static" / "figures-data.js"
RECORD = ROOT / "data" / "records" / "drawn-dimensions.json"
STILLS = ROOT / "book" / "images" / "touch"
NAMES = ("mahalanobis", "threshold", "dimensions", "training")
STUDY = ROOT / "data" / "records" / "efficientad-convergence"
SIDE = 64  # of the maps that are stored
FRAME = Frame((256, 256))

THRESHOLD = ("cable", "combined", 1)  # three regions of unlike size, the smallest detected last
CATEGORY, DEFECT, NETWORK = "grid", "broken", "efficientnet-lite0"
SIZES, DRAWS, SHOWN = (5, 10, 20, 40, 80, 120, 176), 8, 3
TRAINED, KINDS, BRIGHTEST = "metal_nut", ("good", "scratch", "flip"), 0.5


def main() -> int:
    """Compute and draw what is asked for."""
    wanted = sys.argv[1:] or ["threshold", "dimensions", "training", "stills"]
    data = json.loads(DATA.read_text().partition("= ")[2].rstrip(";\n")) if DATA.is_file() else {}
    if "threshold" in wanted:
        data["threshold"] = threshold()
    if "dimensions" in wanted:
        record, data["dimensions"] = dimensions()
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
    if "training" in wanted:
        data["training"] = training()
    if wanted != ["stills"]:
        DATA.write_text(f"/* Written by book/figures.py. */\nwindow.padimFigures = {json.dumps(data)};\n")
    if "stills" in wanted:
        return stills()
    return 0


def threshold() -> dict[str, object]:
    """One defective image with its map and the regions of its mask, all 64 x 64."""
    category, defect, number = THRESHOLD
    parts = load_category(category, "twin:lite")
    detector = recipe("padim-lite0", device="cpu").fit(parts.train)
    sample = [s for s in parts.test if s.defect == defect][number]
    map_, truth = detector.score([sample])[0], masks([sample], detector.settings.frame)[0]
    step = len(map_) // SIDE
    small = map_[step // 2 :: step, step // 2 :: step]
    regions, _ = label(truth[step // 2 :: step, step // 2 :: step], np.ones((3, 3)))
    levels = np.rint(255 * (small - small.min()) / np.ptp(small)).astype(np.uint8)
    framed = next(image_batches([sample], detector.settings.frame, 1))[0]
    return {
        "of": f"{category}, {defect}",
        "low": float(small.min()),
        "high": float(small.max()),
        "map": _base64(levels.tobytes()),
        "regions": _base64(regions.astype(np.uint8).tobytes()),
        "image": _jpeg(framed, 192),
    }


def dimensions() -> tuple[dict[str, object], dict[str, object]]:
    """Image AUROC of several draws of each number of dimensions: the record, and what the figure shows of it."""
    network, parts = backbone(NETWORK), load_category(CATEGORY, "twin:lite")
    train, test = (_features(network, samples) for samples in (parts.train, parts.test))
    labels = np.array([s.label for s in parts.test])
    shown = next(i for i, s in enumerate(parts.test) if s.defect == DEFECT)
    rows, images = [], []
    for d in SIZES:
        seeds = range(DRAWS if d < sum(network.channels) else 1)
        values = []
        for seed in seeds:
            embedding = Selection("random", d, seed).embedding(network.channels)
            with torch.inference_mode():
                gaussians = PatchGaussians.fit(Moments.from_features(embedding.features(train)))
                maps = smooth(gaussians.distances(embedding.features(test)), (256, 256)).numpy()
            values.append(float(auroc(maps.max((1, 2)), labels)))
            if seed < SHOWN:
                share = np.clip(maps[shown] / np.quantile(maps[labels == 0].max((1, 2)), 0.5) / 1.5, 0, 1)
                heat = (colormaps[figures.HEAT](share)[..., :3] * 255).astype(np.uint8)
                images.append({"d": d, "seed": seed, "map": _jpeg(heat, 96)})
        rows.append({"d": d, "image_auroc": values})
        print(f"{d} dimensions: {np.mean(values):.3f}, {np.ptp(values):.3f} between best and worst", flush=True)
    record = {
        "what": "image AUROC of random draws of dimensions, seeds from 0; written by book/figures.py",
        "data": "twin:lite",
        "category": CATEGORY,
        "backbone": NETWORK,
        "weights": network.weights,
        "channels": list(network.channels),
        "train": len(parts.train),
        "test": len(parts.test),
        "rows": rows,
    }
    framed = next(image_batches([parts.test[shown]], FRAME, 1))[0]
    return record, {"of": f"{CATEGORY}, {DEFECT}", "rows": rows, "maps": images, "image": _jpeg(framed, 192)}


def training() -> dict[str, object]:
    """The losses of a recorded training of EfficientAD, and its two maps of some images after so many steps."""
    study = json.loads((STUDY / f"{TRAINED}.json").read_text())
    with safe_open(STUDY / f"{TRAINED}-maps.safetensors", "np") as file:
        names = json.loads(file.metadata()["images"])
        maps = {point["step"]: file.get_tensor(f"step {point['step']}").astype(float) for point in study["points"]}
    samples = {f"{s.defect}/{s.image.name}": s for s in load_category(TRAINED, "twin:lite").test}
    shown = [next(i for i, name in enumerate(names) if name.startswith(kind)) for kind in KINDS]
    images = next(image_batches([samples[names[i]] for i in shown], FRAME, len(shown)))
    points = [
        {
            "step": point["step"],
            "metrics": [
                point[key]["image_auroc"]
                for key in ("metrics of the student's map alone", "metrics of the autoencoder's map alone", "metrics")
            ],
            "maps": [[_jpeg(_heat(map_), 96) for map_ in maps[point["step"]][i]] for i in shown],
        }
        for point in study["points"]
    ]
    losses = study["losses"]
    return {
        "of": TRAINED.replace("_", " "),
        "kinds": KINDS,
        "images": [_jpeg(image, 96) for image in images],
        "terms": losses["terms"],
        "every": losses["steps"],
        "means": losses["means"],
        "points": points,
    }


def _heat(map_: np.ndarray) -> np.ndarray:
    return (colormaps[figures.HEAT](np.clip(map_ / BRIGHTEST, 0, 1))[..., :3] * 255).astype(np.uint8)


def stills() -> int:
    """Photograph each figure as it stands when its page is opened."""
    from playwright.sync_api import sync_playwright

    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if browser is None:
        print("stills need a Chromium: install one", file=sys.stderr)
        return 1
    STILLS.mkdir(exist_ok=True)
    static = ROOT / "book" / "_static"
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": 760, "height": 700}, device_scale_factor=1.5)
        for name in NAMES:
            page.set_content(f'<figure class="touch touch-{name}"></figure>')
            page.add_style_tag(path=static / "touch.css")
            page.add_style_tag(content="body { font: 15px sans-serif; background: #fff; color: #222; margin: 8px }")
            page.add_script_tag(path=DATA)
            page.add_script_tag(path=static / "figures.js")
            page.wait_for_function("[...document.images].every((image) => image.complete)")
            page.wait_for_timeout(300)
            content = page.locator(".touch-panel").screenshot()
            Image.open(io.BytesIO(content)).convert("RGB").save(STILLS / f"{name}.png", optimize=True)
        opened.close()
    return 0


def _features(network: torch.nn.Module, samples: list[Sample]) -> list[Tensor]:
    with torch.inference_mode():
        batches = [network(network.normalize(torch.from_numpy(batch))) for batch in image_batches(samples, FRAME, 20)]
    return [torch.cat(layer) for layer in zip(*batches, strict=True)]


def _jpeg(image: np.ndarray, side: int) -> str:
    stream = io.BytesIO()
    Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS).save(stream, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{_base64(stream.getvalue())}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


if __name__ == "__main__":
    sys.exit(main())
