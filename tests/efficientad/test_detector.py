"""EfficientAD's training: seeded, resumed, killed, out of disk; with an eighth of the channels, for time."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from making import write_image, write_parts
from safetensors.torch import load_file
from small_training import NARROW, quick_in

from padim_nb import evaluate, load_category
from padim_nb.deploy.export import export
from padim_nb.detectors import load
from padim_nb.efficientad import pdn
from padim_nb.efficientad.detector import EfficientAD, _levels
from padim_nb.efficientad.settings import Training
from padim_nb.efficientad.training import StudentTrainer
from padim_nb.errors import CannotWrite, ModelError, OptionError
from padim_nb.experiments.run import RunSettings, Stopwatch, write_record
from padim_nb.padim.detector import PaDiM


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(pdn._LAYERS, "small", NARROW)
        yield


@pytest.fixture
def quick(tmp_path):
    return quick_in(tmp_path)


@pytest.fixture(scope="module")
def settled(tmp_path_factory):
    """(settings, samples, detector): one undisturbed training that several tests compare with."""
    folder = tmp_path_factory.mktemp("settled")
    write_parts(folder / "root" / "widget")
    settings, samples = quick_in(folder), load_category("widget", folder / "root").train
    return settings, samples, EfficientAD.from_settings(settings, "cpu").fit(samples)


def test_fit_score_save_load_calibrate_and_export(settled, parts, tmp_path):
    widget, detector = load_category("widget", parts), settled[2]
    maps = detector.score(widget.test)
    assert maps.shape == (len(widget.test), 256, 256)
    assert np.isfinite(maps.maps).all()
    threshold = detector.calibrate(widget.train)
    assert np.array_equal(detector.held_out_scores(widget.train), [threshold.value])
    assert threshold.images == detector.facts["held out"] == 1
    assert "too few for a" in threshold.note
    assert detector.facts["penalty"] == "2 of 2 images in others"
    again = load(detector.save(tmp_path / "model.safetensors"), device="cpu")
    assert isinstance(again, EfficientAD)
    assert again.settings == detector.settings
    assert again.threshold_ == threshold
    assert np.array_equal(again.score(widget.test), maps)
    path = export(detector, tmp_path / "model.onnx")
    framed = np.stack([np.full((256, 256, 3), 90, np.uint8)] * 3)
    found = onnxruntime.InferenceSession(str(path)).run(None, {"images": framed})
    wanted = detector.score_images(framed)
    assert np.abs(found[0] - wanted.maps).max() < 1e-4 * max(1, np.abs(wanted.maps).max())
    assert np.allclose(found[1], wanted.scores, atol=1e-4)
    with pytest.raises(ModelError, match="fitted on images of 256x256, not 300x256"):
        detector.score_images(np.zeros((1, 300, 256, 3), np.uint8))
    with pytest.raises(ModelError, match="wanted is 'padim-nb/padim/1'"):
        PaDiM.load(tmp_path / "model.safetensors")


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(settled):
    settings, samples, detector = settled
    states = [detector.model_.state_dict()]
    for changes in ({"seed": 42}, {"seed": 7, "steps": 1}):
        other = replace(settings, training=replace(settings.training, **changes))
        states.append(EfficientAD.from_settings(other, "cpu").fit(samples).model_.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))
    assert not torch.equal(states[0]["pair.student.conv4.weight"], states[2]["pair.student.conv4.weight"])


def test_held_out_pictures_are_not_learnt_from(quick, parts):
    widget = load_category("widget", parts)
    detector = EfficientAD.from_settings(replace(quick, held_out=0.25), "cpu")
    learnt, held = detector._split(widget.train)
    assert (len(learnt), len(held)) == (9, 3)
    assert not {s.image for s in learnt} & {s.image for s in held}


def test_coinciding_quantiles_are_guarded_and_noted(quick, tmp_path):
    for number in range(4):
        write_image(tmp_path / "flat" / "train" / "good" / f"{number}.png", (256, 256), seed=0)
    samples = load_category("flat", tmp_path).train
    detector = EfficientAD.from_settings(replace(quick, training=Training(steps=1)), "cpu")
    detector.fit(samples)
    detector.model_.raw = lambda shown: torch.zeros(len(shown), 2, 56, 56)
    levels, note = _levels(detector.model_, torch.zeros(2, 256, 256, 3, dtype=torch.uint8), (0.9, 0.995))
    assert all(high > low for low, high in levels)
    assert "coincide" in note


def interrupted(settings, samples, checkpoint, at, monkeypatch):
    """Train until step `at`, writing a checkpoint after each step, and stop there."""
    whole = StudentTrainer.step

    def step(self, number):
        if number == at:
            raise KeyboardInterrupt
        return whole(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(StudentTrainer, "step", step)
        detector = EfficientAD.from_settings(settings, "cpu")
        detector.checkpoint, detector.minutes = checkpoint, 0.0
        with pytest.raises(KeyboardInterrupt):
            detector.fit(samples)


def test_an_interrupted_training_goes_on_and_ends_with_the_same_weights(settled, tmp_path, monkeypatch):
    quick, samples, straight = settled
    checkpoint = tmp_path / "c.safetensors"
    interrupted(quick, samples, checkpoint, 2, monkeypatch)
    resumed = EfficientAD.from_settings(quick, "cpu")
    resumed.checkpoint = checkpoint
    resumed.fit(samples)
    for a, b in zip(straight.model_.state_dict().values(), resumed.model_.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert resumed.earlier_ > straight.earlier_ == 0
    other = EfficientAD.from_settings(replace(quick, training=replace(quick.training, rate=1e-3)), "cpu")
    other.checkpoint = checkpoint
    with pytest.raises(OptionError, match=r"other settings \(rate\)"):
        other.fit(samples)


def test_a_record_counts_the_seconds_before_a_stop_too(settled, parts, tmp_path):
    widget, detector = load_category("widget", parts), replace(settled[2], earlier_=100.0)
    maps = detector.score(widget.test)
    report, asked = evaluate(maps, widget.test), RunSettings("widget", out=str(tmp_path))
    record = json.loads(
        write_record(asked, widget, detector, report, Stopwatch({"fit": 2.5, "score": 1.0})).read_text()
    )
    assert record["seconds"] == {"fit": 102.5, "score": 1.0}


KILLED = f"""
import sys
from pathlib import Path
from padim_nb import load_category
from padim_nb.efficientad import pdn
from padim_nb.efficientad.detector import EfficientAD
from padim_nb.efficientad.settings import EfficientADSettings, Training
pdn._LAYERS["small"] = {NARROW!r}
root, teacher, others, folder = sys.argv[1:]
settings = EfficientADSettings(weights=teacher, training=Training(steps=12, bf16=False), penalty=others)
detector = EfficientAD.from_settings(settings, "cpu")
detector.checkpoint, detector.minutes = Path(folder) / "checkpoint.safetensors", 0.0
detector.fit(load_category("widget", root).train).save(Path(folder) / "model.safetensors")
"""


def killed_and_rerun(command, folder, kills, moments):
    """Start, kill -9 after a random while, and so on; then let it end. Returns how often it really was killed."""
    count = 0
    for _ in range(kills):
        process = subprocess.Popen(command)
        try:
            process.wait(next(moments))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            count += 1
        if (folder / "model.safetensors").exists():
            break
    subprocess.run(command, check=True)
    return count


@pytest.mark.torture
def test_kill_9_and_rerun_ends_with_the_same_weights(quick, parts, tmp_path, kills, rng):
    total, states = 0, []
    arguments = [str(parts), quick.weights, quick.penalty]
    command = [sys.executable, "-c", KILLED, *arguments]
    (tmp_path / "straight").mkdir()
    begun = time.monotonic()
    subprocess.run([*command, str(tmp_path / "straight")], check=True)
    took = time.monotonic() - begun
    moments = iter(lambda: rng.uniform(0.4, 0.95) * took, None)
    wanted = load_file(tmp_path / "straight" / "model.safetensors")
    start = time.monotonic()
    while total < kills and time.monotonic() - start < 1200:
        folder = tmp_path / f"killed{len(states)}"
        folder.mkdir()
        total += killed_and_rerun([*command, str(folder)], folder, kills - total, moments)
        found = load_file(folder / "model.safetensors")
        assert all(torch.equal(wanted[key], found[key]) for key in wanted)
        assert sorted(path.name for path in folder.glob("*")) == ["checkpoint.safetensors", "model.safetensors"]
        states.append(found)
    assert total >= kills


def test_a_full_disk_keeps_the_last_good_checkpoint(quick, parts, tmp_path, monkeypatch, tiny_disk):
    samples = load_category("widget", parts).train
    detector = EfficientAD.from_settings(quick, "cpu")
    detector.checkpoint, detector.minutes = tiny_disk / "checkpoint.safetensors", 0.0
    with pytest.raises(CannotWrite, match="the disk is full"):
        detector.fit(samples)
    assert not list(tiny_disk.glob("*.safetensors"))


def test_a_loss_that_is_not_a_number_stops_with_one_line(quick, parts, tmp_path, monkeypatch):
    samples = load_category("widget", parts).train
    checkpoint = tmp_path / "c.safetensors"
    interrupted(quick, samples, checkpoint, 1, monkeypatch)
    kept = checkpoint.read_bytes()
    whole = StudentTrainer.step

    def broken(self, number):
        terms = whole(self, number)
        terms.hard = terms.hard * float("nan")
        return terms

    monkeypatch.setattr(StudentTrainer, "step", broken)
    detector = EfficientAD.from_settings(quick, "cpu")
    detector.checkpoint, detector.minutes = checkpoint, 0.0
    with pytest.raises(ModelError, match=r"the loss is nan at step 2.*last good checkpoint is kept"):
        detector.fit(samples)
    assert checkpoint.read_bytes() == kept
