"""A trained detector in float16 without its teacher: it scores as the detector did that was saved."""

import json

import numpy as np
import pytest
from making import write_image

from padim_nb.data.mvtec import Sample
from padim_nb.efficientad import cards
from padim_nb.efficientad.detector import EfficientAD
from padim_nb.efficientad.settings import EfficientADSettings, Training
from padim_nb.efficientad.trained import load_trained, save_trained
from padim_nb.errors import ModelError


@pytest.fixture
def fitted(tmp_path):
    samples = []
    for number in range(4):
        path = tmp_path / f"{number}.png"
        write_image(path, (256, 256), seed=number)
        samples.append(Sample(path, 0, "good"))
    settings = EfficientADSettings(weights="shipped", width=0.1, penalty="none", training=Training(steps=2))
    return EfficientAD.from_settings(settings, "cpu").fit(samples), samples


def test_a_shipped_detector_scores_like_the_one_that_was_saved(fitted, tmp_path, monkeypatch):
    detector, samples = fitted
    folder = tmp_path / "assets"
    folder.mkdir()
    for ending in ("safetensors", "json"):
        (folder / f"pdn-small.{ending}").write_bytes((cards.ASSETS / f"pdn-small.{ending}").read_bytes())
    save_trained(detector, folder / "trained.safetensors", {"data": "four images"})
    monkeypatch.setattr(cards, "ASSETS", folder)
    again = load_trained("trained", "cpu")
    difference = again.score(samples).maps - detector.score(samples).maps
    assert np.abs(difference).max() < 0.01 * np.ptp(detector.score(samples).maps)
    card = json.loads((folder / "trained.json").read_text())
    assert card["data"] == "four images"
    assert card["levels"] == detector.levels_

    card["teacher"]["sha256"] = "0" * 64
    (folder / "trained.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="another teacher"):
        load_trained("trained", "cpu")


def test_a_detector_that_was_not_fitted_is_refused(tmp_path):
    detector = EfficientAD.from_settings(EfficientADSettings(weights="shipped"), "cpu")
    with pytest.raises(ModelError, match="only a fitted detector"):
        save_trained(detector, tmp_path / "x.safetensors", {})
    assert not list(tmp_path.iterdir())


def test_the_shipped_detector_of_the_metal_nut_is_small_and_scores():
    detector, card = load_trained("efficientad-metal_nut", "cpu"), cards.card("efficientad-metal_nut")
    assert card["megabytes"] <= 6
    assert "twin" in card["data"]
    rng = np.random.default_rng(0)
    scores = detector.score_images(rng.integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)).scores
    assert scores[0] > 0.1, "noise is no metal nut"
