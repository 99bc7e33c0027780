"""Every path of both methods on a CUDA device that is emulated: results equal the CPU's, mistakes are caught."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from emulated_cuda import emulated_cuda
from safetensors.torch import load_file
from small_training import NARROW, fresh, quick_in, teacher_in
from torch.nn.functional import avg_pool2d

from padim_nb import load, load_category, recipe
from padim_nb.data.images import Frame
from padim_nb.deploy.export import export
from padim_nb.efficientad import capture, pdn
from padim_nb.efficientad.capture import Captured
from padim_nb.efficientad.detector import EfficientAD
from padim_nb.efficientad.distillation import Distillation, distill
from padim_nb.efficientad.settings import Training
from padim_nb.efficientad.teacher import standardized
from padim_nb.efficientad.training import StudentTrainer
from padim_nb.experiments.recipes import RECIPES, settings_of
from padim_nb.least_squares.detector import LeastSquaresStudent
from padim_nb.least_squares.settings import LeastSquaresSettings
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.distributed import merged, statistics_of
from padim_nb.padim.settings import QUIRKS

PADIM = ("padim-lite0", "padim-gabor", "padim-random", "padim-lite0 with quirks")
SIDE = 128
NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "run_category.ipynb"


@pytest.fixture
def cuda(monkeypatch):
    with emulated_cuda(monkeypatch) as rules:
        yield rules


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setitem(pdn._LAYERS, "small", NARROW)


def padim(name, device):
    """Of small images: what lies on which device does not depend on their size."""
    if name in RECIPES:
        return recipe(name, device=device, size=SIDE)
    settings = replace(settings_of("padim-lite0"), frame=Frame((SIDE, SIDE)), quirks=QUIRKS)
    return PaDiM.from_settings(settings, device)


@pytest.mark.parametrize("name", PADIM)
def test_padim_on_cuda_gives_the_maps_of_the_cpu(name, parts, tmp_path, monkeypatch):
    widget = load_category("widget", parts)
    cpu = padim(name, "cpu").fit(widget.train).score(widget.test)
    with emulated_cuda(monkeypatch) as cuda:
        detector = padim(name, "auto").fit(widget.train)
        assert detector.device == "cuda"
        maps = detector.score(widget.test)
        assert cuda.operations > 10
        np.testing.assert_allclose(np.asarray(maps), np.asarray(cpu), rtol=1e-4, atol=1e-4 * np.abs(cpu).max())
        detector.calibrate(widget.train, 0.1)
        again = load(detector.save(tmp_path / "model.safetensors"), device="cuda")
        np.testing.assert_array_equal(np.asarray(again.score(widget.test)), np.asarray(maps))
    on_cpu = load(tmp_path / "model.safetensors", device="cpu")
    np.testing.assert_allclose(np.asarray(on_cpu.score(widget.test)), np.asarray(cpu), rtol=1e-4, atol=1e-3)


def test_parts_fitted_on_cuda_merge(parts, cuda):
    widget = load_category("widget", parts)
    whole = padim("padim-gabor", "cuda").fit(widget.train)
    shares = [statistics_of(widget.train[k::2], whole.settings, len(widget.train), "cuda") for k in (0, 1)]
    both = padim("padim-gabor", "cuda")
    both.merge_statistics(*merged(*shares, whole.settings))
    np.testing.assert_allclose(np.asarray(both.score(widget.test)), np.asarray(whole.score(widget.test)), rtol=1e-3)


def test_efficientad_on_cuda_gives_the_maps_of_the_cpu(narrow, parts, tmp_path, monkeypatch):
    widget, settings = load_category("widget", parts), quick_in(tmp_path)
    with emulated_cuda(monkeypatch):
        detector = EfficientAD.from_settings(settings, "cuda").fit(widget.train, false_alarm=0.1)
        maps = detector.score(widget.test[:3])
        again = load(detector.save(tmp_path / "model.safetensors"), device="cuda")
        np.testing.assert_array_equal(np.asarray(again.score(widget.test[:3])), np.asarray(maps))
    on_cpu = load(tmp_path / "model.safetensors", device="cpu").score(widget.test[:3])
    np.testing.assert_allclose(np.asarray(on_cpu), np.asarray(maps), rtol=1e-4, atol=1e-5)


def test_a_least_squares_student_on_cuda_has_the_maps_of_the_cpu(narrow, parts, tmp_path, monkeypatch):
    widget = load_category("widget", parts)
    weights = str(teacher_in(tmp_path))
    settings = LeastSquaresSettings(
        weights=weights, images=4, calibration_images=2, steps=3, ridge=1.0, precision="float32"
    )
    wanted = LeastSquaresStudent.from_settings(settings, "cpu").fit(widget.train).score(widget.test[:3])
    with emulated_cuda(monkeypatch):
        detector = LeastSquaresStudent.from_settings(settings, "cuda").fit(widget.train)
        maps = detector.score(widget.test[:3])
        again = load(detector.save(tmp_path / "model.safetensors"), device="cuda")
        np.testing.assert_array_equal(np.asarray(again.score(widget.test[:3])), np.asarray(maps))
    np.testing.assert_allclose(np.asarray(maps), np.asarray(wanted), rtol=1e-2, atol=1e-2 * np.ptp(np.asarray(wanted)))


def test_a_teacher_is_distilled_on_cuda_as_on_the_cpu(narrow, tmp_path, monkeypatch):
    monkeypatch.setattr(capture, "WARM_UP", 1)
    settings = Distillation(backbone="efficientnet-lite0-expanded", images=4, side=64, batch=2, statistics=2, rate=1e-3)
    wanted = load_file(distill(tmp_path / "cpu", settings, steps=4))
    with emulated_cuda(monkeypatch):
        path = distill(tmp_path / "cuda", settings, steps=4, device="cuda")
    assert json.loads(path.with_suffix(".json").read_text())["steps"] == 4
    for name, value in load_file(path).items():
        torch.testing.assert_close(value.float(), wanted[name].float(), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("size", [(6, 8), (7, 5)])
def test_the_slope_of_the_pooling_is_torchs(size, padding, cuda):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    ours, theirs = x.to("cuda").requires_grad_(), x.clone().requires_grad_()
    slope = torch.randn_like(avg_pool2d(theirs, 2, 2, padding))
    pdn._pooled(ours, padding).backward(slope.to("cuda"))
    avg_pool2d(theirs, 2, 2, padding).backward(slope)
    torch.testing.assert_close(ours.grad.cpu(), theirs.grad, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["padim-lite0", "efficientad"])
def test_a_detector_on_cuda_is_exported(name, narrow, parts, tmp_path, cuda):
    widget = load_category("widget", parts)
    if name == "padim-lite0":
        detector: PaDiM | EfficientAD = padim(name, "cuda")
    else:
        detector = EfficientAD.from_settings(quick_in(tmp_path), "cuda")
    detector.fit(widget.train, false_alarm=0.1)
    assert export(detector, tmp_path / "model.onnx").is_file()


def test_run_category_runs_on_cuda(parts, tmp_path, cuda, monkeypatch):
    """The cells of the notebook, one after the other, in this process: a kernel of its own knows no emulation."""
    monkeypatch.chdir(tmp_path)
    names = {"display": lambda *_: None}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
            if "parameters" in cell["metadata"].get("tags", ()):
                names |= {"category": "widget", "recipe": "padim-gabor", "data": str(parts), "out": "runs"}
    record = json.loads(Path("runs/record.json").read_text())
    assert record["device"] == "cuda" and record["facts"]["gpu"] == "emulated"


def test_a_step_of_efficientad_neither_waits_for_the_device_nor_copies(narrow, parts, tmp_path, monkeypatch):
    """Steps between two readings of the loss: counts of two lengths of training differ by nothing but operations."""
    widget, settings, counts = load_category("widget", parts), quick_in(tmp_path), []
    for steps in (2, 5):
        training = replace(settings, training=replace(settings.training, steps=steps))
        with emulated_cuda(monkeypatch) as cuda:
            EfficientAD.from_settings(training, "cuda").fit(widget.train)
        counts.append((cuda.reads, cuda.uploads, cuda.downloads))
    short, long = counts
    for before, after in zip(short, long, strict=True):
        assert not {line: count - before[line] for line, count in after.items() if count != before[line]}


def trainer_on_cuda(**settings):
    teacher, pair = (network.to("cuda") for network in fresh())
    images = torch.randint(0, 256, (3, 256, 256, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images, others = images.to("cuda"), images.flip(0).to("cuda")
    teacher, targets = standardized(teacher, images, 1 << 30)
    training = Training(steps=6, rate=1e-3, drop_at=0.9, **settings)
    return StudentTrainer(teacher, pair, images, others, training, targets)


@pytest.mark.parametrize("bf16", [True, False])
def test_replayed_steps_have_the_bits_of_called_ones(bf16, narrow, tmp_path, monkeypatch, cuda):
    """Of other images each, the rate falls at the last, which is replayed after a stop."""
    monkeypatch.setattr(capture, "WARM_UP", 1)
    called, first, second = (trainer_on_cuda(bf16=bf16) for _ in range(3))
    called._captured = None
    called.run(None, {})
    counts = []

    def stopped(step):
        if step == 3:
            raise KeyboardInterrupt
        before = cuda.operations
        terms = StudentTrainer.step(first, step)
        counts.append(cuda.operations - before)
        return terms

    first.step = stopped
    with pytest.raises(KeyboardInterrupt):
        first.run(tmp_path / "checkpoint.safetensors", {}, minutes=0.0)
    second.run(tmp_path / "checkpoint.safetensors", {})
    for wanted, found in zip(called.pair.parameters(), second.pair.parameters(), strict=True):
        assert torch.equal(wanted, found)
    assert torch.equal(called._dropout.get_state(), second._dropout.get_state())
    assert counts[2] <= 30 < counts[0]


def test_each_call_of_what_is_recorded_takes_effect_once(cuda):
    rng, total, wanted = torch.Generator("cuda"), *torch.zeros(2, 3, device="cuda")
    captured = Captured(rng)

    def add(x):
        total.add_(x * torch.rand(3, generator=rng, device="cuda"))
        return total * 2

    for call in range(3 * capture.WARM_UP):
        rng.manual_seed(call)
        x = torch.full((3,), float(call), device="cuda")
        result = captured(add, x)
        wanted += x * torch.rand(3, generator=torch.Generator("cuda").manual_seed(call), device="cuda")
        assert torch.equal(total, wanted) and torch.equal(result, 2 * wanted)


def test_what_a_graph_cannot_hold_is_refused(cuda):
    x, other = torch.ones(3, device="cuda"), torch.Generator("cuda").manual_seed(7)
    mistakes = {
        "a read": lambda x: x * x.sum().item(),
        "a copy": lambda x: x + torch.ones(3).to("cuda"),
        "another generator": lambda x: x * torch.rand(3, generator=other, device="cuda"),
    }
    for name, mistake in mistakes.items():
        captured = Captured(torch.Generator("cuda"))
        for _ in range(capture.WARM_UP):
            captured(mistake, x)
        with pytest.raises(RuntimeError, match="captur"):
            captured(mistake, x)
            pytest.fail(f"not caught: {name}")


def test_padim_waits_a_bounded_number_of_times_for_each_batch(parts, cuda):
    widget = load_category("widget", parts)
    detector = padim("padim-lite0", "cuda").fit(widget.train)
    assert sum(cuda.reads.values()) <= 10, cuda.reads
    before = sum(cuda.reads.values()) + sum(cuda.downloads.values())
    detector.score(widget.test)  # one batch
    # are the features of each layer finite (2), then maps and image scores, which are computed on the device (2)
    assert sum(cuda.reads.values()) + sum(cuda.downloads.values()) - before <= 4, (cuda.reads, cuda.downloads)


def test_the_emulation_catches_what_cuda_refuses(cuda):
    """Planted mistakes: each would pass unseen on the CPU."""
    x = torch.rand(2, 3, device="cuda")
    mistakes = {
        "two devices": lambda: x + torch.ones(3),
        "two devices in place": lambda: torch.ones(2, 3).add_(x),
        "an index on the device": lambda: torch.ones(4)[torch.ones(1, dtype=torch.long, device="cuda")],
        "numpy": lambda: x.numpy(),
        "numpy by conversion": lambda: np.asarray(x),
        "another generator": lambda: torch.rand(2, generator=torch.Generator(), device="cuda"),
        "a module left behind": lambda: torch.nn.Linear(3, 2)(x),
    }
    for name, mistake in mistakes.items():
        with pytest.raises((RuntimeError, TypeError)):
            mistake()
            pytest.fail(f"not caught: {name}")


def test_the_emulation_counts_what_waits(cuda):
    x = torch.rand(4).to("cuda")
    assert x.device.type == "cuda" and x[1:].is_cuda and torch.zeros_like(x).is_cuda and not x.cpu().is_cuda
    x.sum().item()
    bool(x.sum() > 0)
    x[x > 0.5]
    assert (sum(cuda.uploads.values()), sum(cuda.downloads.values()), sum(cuda.reads.values())) == (1, 1, 3)
