"""A fitted detector as one ONNX graph, kept only if it agrees with torch."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from ..detectors import Detector
from ..efficientad.detector import EfficientAD
from ..errors import ModelError
from ..padim.smoothing import smooth
from ..util.files import whole_file

TOLERANCE = 1e-3  # largest difference from torch, relative to the largest distance
OPSET = 18
LARGEST = 2**31 - 2**24  # bytes an ONNX file can hold


class Graph(nn.Module):
    """Framed pictures, uint8 (b, height, width, 3) -> `map` (b, height, width) and `score` (b)."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.network = detector.model_ if isinstance(detector, EfficientAD) else detector.backbone

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.network(pictures) if isinstance(self.detector, EfficientAD) else self._distances(pictures)
        return maps, maps.amax(dim=(1, 2))

    def _distances(self, pictures: Tensor) -> Tensor:
        d, s = self.detector, self.detector.settings
        levels = d.embedding.levels(self.network(self.network.normalise(pictures)))
        return smooth(d.gaussians_.distances(levels), d.size_, s.sigma, s.border, s.upsample)


def export(detector: Detector, path: str | Path) -> Path:
    """Write the ONNX graph of a fitted detector; its input is pictures in the detector's frame.

    The file is compared with torch on random pictures first and not kept when it differs.
    """
    path = Path(path)
    learnt = detector.model_ if isinstance(detector, EfficientAD) else detector.gaussians_
    if learnt is None:
        raise ModelError("this detector has not been fitted yet: call fit(samples) first")
    if getattr(detector.settings, "quirks", ()):
        raise ModelError("this recipe repeats a published program's quirks, for its row only: export the -fixed one")
    size = 0 if isinstance(detector, EfficientAD) else learnt.bytes
    if size > LARGEST:
        raise ModelError(f"an ONNX file holds 2 GB, this detector {size / 1e9:.1f} GB: use fewer dimensions")
    graph = Graph(detector).eval()
    pictures = torch.randint(
        0, 256, (2, *detector.size_, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    with whole_file(path) as scratch:
        _write(graph, pictures.to(detector.device), scratch, detector)
        _compare(graph, pictures, scratch, detector)
    return path


def _write(graph: Graph, pictures: Tensor, path: Path, detector: Detector) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            (pictures,),
            str(path),
            input_names=["pictures"],
            output_names=["map", "score"],
            dynamic_axes={"pictures": {0: "batch"}, "map": {0: "batch"}, "score": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(path)
    threshold = detector.threshold_.value if detector.threshold_ else None
    facts = {"settings": asdict(detector.settings), "weights": detector.weights, "threshold": threshold}
    onnx.helper.set_model_props(model, {"padim_nb": json.dumps(facts)})
    onnx.save(model, path)


def _compare(graph: Graph, pictures: Tensor, path: Path, detector: Detector) -> None:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 2):
        some = pictures[:count]
        with torch.inference_mode():
            wanted = [part.cpu().numpy() for part in graph(some.to(detector.device))]
        found = session.run(None, {"pictures": some.numpy()})
        worst = max(float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-9)) for a, b in zip(wanted, found, strict=True))
        if not worst <= TOLERANCE:
            raise ModelError(
                f"the ONNX graph differs from torch by {worst:.1e} (at most {TOLERANCE:.0e}): it was not kept"
            )
