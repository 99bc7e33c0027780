"""The least-squares student: fitted, saved, exported, seeded; a file of an earlier version is one line."""

from dataclasses import asdict, replace

import numpy as np
import onnxruntime
import pytest
from small_training import teacher_in

from padim_nb import load_category, recipe
from padim_nb.deploy.export import export
from padim_nb.detectors import load
from padim_nb.efficientad.settings import EfficientADSettings
from padim_nb.errors import ModelError, OptionError
from padim_nb.least_squares.detector import LeastSquaresStudent
from padim_nb.least_squares.settings import LeastSquaresSettings
from padim_nb.util.model_file import read_model, write_model


@pytest.fixture
def settings(tmp_path, narrow):
    return LeastSquaresSettings(weights=str(teacher_in(tmp_path)), images=5, calibration_images=3, steps=2)


@pytest.fixture
def fitted(settings, parts):
    return LeastSquaresStudent.from_settings(settings, "cpu").fit(load_category("widget", parts).train)


def test_fit_score_save_load_calibrate_and_export(fitted, parts, tmp_path):
    widget = load_category("widget", parts)
    assert (fitted.facts["learned from"], fitted.facts["held out"]) == (5 + 3, 1)
    assert sum(fitted.facts["shares"]) == pytest.approx(1, abs=2e-3)
    learned, held_out, others = fitted._thirds(widget.train)
    assert [len(samples) for samples in (learned, others, held_out)] == [5, 3, 1]
    assert not {s.image for s in others} & {s.image for s in (*learned, *held_out)}
    with pytest.raises(ModelError, match="all 3 images were learned from"):
        fitted.held_out_scores(others)
    assert np.allclose(fitted.held_out_scores(held_out), fitted.held_out_scores())
    maps = fitted.score(widget.test)
    again = load(fitted.save(tmp_path / "model.safetensors"), device="cpu")
    assert isinstance(again, LeastSquaresStudent) and again.settings == fitted.settings
    assert np.array_equal(again.score(widget.test), maps)
    assert again.calibrate().images == 1
    framed = np.stack([np.full((256, 256, 3), 90, np.uint8)] * 2)
    exported = onnxruntime.InferenceSession(str(export(fitted, tmp_path / "model.onnx")))
    wanted = fitted.score_images(framed).maps
    assert np.abs(exported.run(None, {"images": framed})[0] - wanted).max() < 1e-3 * max(1, np.abs(wanted).max())


def test_the_same_seed_gives_the_same_maps_and_another_seed_others(fitted, settings, parts):
    widget = load_category("widget", parts)
    same, other = (
        LeastSquaresStudent.from_settings(replace(settings, seed=seed), "cpu").fit(widget.train) for seed in (42, 7)
    )
    maps = fitted.score(widget.test[:2])
    assert np.array_equal(same.score(widget.test[:2]), maps)
    assert not np.array_equal(other.score(widget.test[:2]), maps)


def test_images_to_weigh_over_are_drawn_not_the_first_by_name(settings, parts):
    samples, places = load_category("widget", parts).train, []
    for seed in range(20):
        few = replace(settings, images=2, calibration_images=1, seed=seed)
        (other,) = LeastSquaresStudent.from_settings(few, "cpu")._thirds(samples)[2]
        places.append(samples.index(other))
    assert max(places) > 0.75 * len(samples)


def test_what_it_has_not_is_refused_in_one_line(fitted, tmp_path):
    with pytest.raises(OptionError, match="'least-squares-student' has no penalty images"):
        recipe("least-squares-student", penalty="procedural")
    path = fitted.save(tmp_path / "model.safetensors")
    with pytest.raises(OptionError, match=r"holds all its weights: leave out 'x\.pth'"):
        load(path, weights="x.pth")
    former = asdict(EfficientADSettings()) | {"weigh": "learned", "images": 48}
    header, tensors = read_model(path, "least-squares-student")
    write_model(path, "efficientad", {**header, "settings": former}, tensors)
    with pytest.raises(ModelError, match=r"model file of another version: .*; fit the detector again") as error:
        load(path, device="cpu")
    assert "\n" not in str(error.value)
