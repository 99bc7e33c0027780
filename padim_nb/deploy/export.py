"""A fitted detector as one ONNX graph, written only if it agrees with torch."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from ..detectors import Detector
from ..errors import ModelError
from ..padim.detector import UNFITTED, PaDiM
from ..padim.smoothing import image_scores
from ..padim.statistics import Gaussians
from ..util.files import whole_file

TOLERANCE = 1e-3  # largest difference from torch, relative to the largest value
OPSET = 18
LARGEST = 2**31 - 2**24  # bytes an ONNX file can hold


def export(detector: Detector, path: str | Path) -> Path:
    """Write the ONNX graph of a fitted detector, with its settings and threshold in the metadata.

    The graph takes `images`, uint8 (n, height, width, 3) in the detector's frame, and returns `map` (n, height, width)
    and `score` (n,). It is compared with torch on random images, in full precision, and not written where it differs.

    Args:
        detector: fitted, of either method.
        path: of the ONNX file.

    Returns:
        The path.
    """
    path = Path(path)
    graph = _graph(detector).eval()
    size, generator = detector.size_ or (0, 0), torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8, generator=generator)
    with whole_file(path) as scratch:
        _write(graph, images.to(detector.device), scratch, detector)
        with full_precision():
            _compare(graph, images, scratch, detector.device)
    return path


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Without TF32, which rounds what a GPU multiplies to 10 bits."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products


def _graph(detector: Detector) -> nn.Module:
    """What a detector computes of images, as a module; ModelError where it cannot be exported."""
    if not isinstance(detector, PaDiM):
        if detector.model_ is None:
            raise ModelError(UNFITTED)
        return _EfficientADGraph(detector.model_)
    if (gaussians := detector.gaussians_) is None:
        raise ModelError(UNFITTED)
    if detector.settings.quirks:
        raise ModelError("this recipe repeats a published program's quirks: export the -fixed one")
    if gaussians.bytes > LARGEST:
        raise ModelError(f"an ONNX file holds 2 GB, this detector {gaussians.bytes / 1e9:.1f} GB: use fewer dimensions")
    return PaDiMGraph(detector, gaussians)


class _EfficientADGraph(nn.Module):
    """Framed images, uint8 (n, height, width, 3) -> anomaly maps (n, height, width) and image scores (n,)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.model(images)
        return maps, image_scores(maps)


class PaDiMGraph(nn.Module):
    """The same of PaDiM, whose Gaussians are constants of the graph."""

    def __init__(self, detector: PaDiM, gaussians: Gaussians) -> None:
        super().__init__()
        self.detector, self.gaussians, self.backbone = detector, gaussians, detector.backbone

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.detector.embed(self.backbone(self.backbone.normalize(images)))
        return self.detector.smoothed(self.gaussians.distances(features))


def _write(graph: nn.Module, images: Tensor, path: Path, detector: Detector) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            (images,),
            str(path),
            input_names=["images"],
            output_names=["map", "score"],
            dynamic_axes={"images": {0: "batch"}, "map": {0: "batch"}, "score": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(path)
    calibration = asdict(detector.threshold_) if detector.threshold_ else None
    facts = {"settings": asdict(detector.settings), "weights": detector.weights, "calibration": calibration}
    facts["threshold"] = calibration and calibration["value"]
    onnx.helper.set_model_props(model, {"padim_nb": json.dumps(facts)})
    onnx.save(model, path)


def _compare(graph: nn.Module, images: Tensor, path: Path, device: str) -> None:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 2):
        batch = images[:count]
        with torch.inference_mode():
            expected = [output.cpu().numpy() for output in graph(batch.to(device))]
        outputs = session.run(None, {"images": batch.numpy()})
        differences = [
            float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-9)) for a, b in zip(expected, outputs, strict=True)
        ]
        if not max(differences) <= TOLERANCE:
            raise ModelError(
                f"the ONNX graph differs from torch by {max(differences):.1e} (at most {TOLERANCE:.0e}): not written"
            )
