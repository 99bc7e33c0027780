"""export: one ONNX graph that computes what torch computes."""

import numpy as np
import onnxruntime
import pytest
import torch

from padim_nb import load_category
from padim_nb.data.images import Frame, image_batches
from padim_nb.deploy.export import PaDiMGraph, export
from padim_nb.errors import ModelError
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.settings import PaDiMSettings, Selection

SMALL = PaDiMSettings("gabor", Frame((64, 64)), Selection("random", 20, 0))


@pytest.fixture
def detector(parts):
    widget = load_category("widget", parts)
    fitted = PaDiM.from_settings(SMALL, "cpu").fit(widget.train)
    fitted.calibrate(widget.train, 0.2)
    return fitted


@pytest.mark.parametrize(
    ("name", "form"),
    [("gabor", "multi-resolution"), ("gabor", "low-rank"), ("gabor", "dense"), ("resnet18", "multi-resolution")],
)
def test_one_onnx_graph_says_what_torch_says(parts, tmp_path, name, form):
    widget = load_category("widget", parts)
    weights = "random" if name == "resnet18" else ""
    settings = PaDiMSettings(name, Frame((64, 96)), Selection("random", 20, 0), weights=weights, form=form)
    fitted = PaDiM.from_settings(settings, "cpu").fit(widget.train)
    path = export(fitted, tmp_path / "model.onnx")
    framed = np.concatenate(list(image_batches(widget.test, settings.frame)))
    found, scores = onnxruntime.InferenceSession(str(path)).run(None, {"images": framed})
    wanted = fitted.score(widget.test)
    assert found.shape == (9, 64, 96)
    assert np.abs(found - wanted.maps).max() / wanted.maps.max() < 1e-3
    assert np.allclose(scores, wanted.scores, rtol=1e-3)


def test_an_unfitted_or_differing_graph_is_not_kept(detector, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="has not been fitted"):
        export(PaDiM.from_settings(SMALL, "cpu"), tmp_path / "a.onnx")
    monkeypatch.setattr("padim_nb.deploy.export.TOLERANCE", -1.0)
    with pytest.raises(ModelError, match="not written"):
        export(detector, tmp_path / "a.onnx")
    assert not list(tmp_path.glob("*.onnx"))


def test_torch_is_compared_in_full_precision(detector, tmp_path, monkeypatch):
    settings = []
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True

    def record(self, images):
        settings.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return forward(self, images)

    forward = PaDiMGraph.forward
    monkeypatch.setattr(PaDiMGraph, "forward", record)
    try:
        export(detector, tmp_path / "a.onnx")
        assert settings[-2:] == [(False, False)] * 2
        assert torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
