"""Thresholds: what is promised is kept over many draws, and what cannot be promised is said."""

import numpy as np
import pytest

from padim_nb import load_category, recipe
from padim_nb.errors import ModelError
from padim_nb.evaluation.thresholds import Threshold, conformal


def test_the_conformal_quantile_is_the_kth_smallest_score():
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 20.0))
    assert conformal(scores, 0.05).value == 19
    assert conformal(scores, 0.1).value == 18
    assert conformal(scores, 0.5).value == 10
    few = conformal(scores, 0.01)
    assert few.value == 19
    assert few.note.startswith("19 images are too few for a 1.0% false-alarm rate: using the largest score, which 5.0%")
    assert few.attained == pytest.approx(0.05)


def test_scores_that_are_none_are_refused():
    for scores in ([], [1.0, np.nan]):
        with pytest.raises(ModelError, match="needs the scores of good images"):
            conformal(np.array(scores), 0.1)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_split_conformal_stops_no_more_than_it_promises(alpha):
    rng = np.random.default_rng(0)
    draws = rng.exponential(size=(4000, 40))  # 39 images that set the threshold, one new part
    stopped = np.mean([draw[-1] > conformal(draw[:-1], alpha).value for draw in draws])
    assert stopped == pytest.approx(alpha, abs=0.02)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_what_is_attained_is_what_scores_of_a_fixed_model_stop(alpha):
    rng = np.random.default_rng(1)
    for count in (9, 30, 99):
        draws = rng.exponential(size=(4000, count + 1))
        limits = [conformal(draw[:-1], alpha) for draw in draws]
        stopped = np.mean([draw[-1] > limit.value for draw, limit in zip(draws, limits, strict=True)])
        attained = limits[0].attained
        assert stopped == pytest.approx(attained, abs=0.02)
        assert attained <= max(alpha, 1 / (count + 1))
        assert attained == pytest.approx(max(np.floor(alpha * (count + 1) + 1e-9), 1) / (count + 1))


def test_groups_not_images_decide_which_rate_is_attained():
    threshold = conformal(np.repeat(np.arange(9.0), 6), 0.05, np.repeat(np.arange(9), 6))
    assert (threshold.value, threshold.images, threshold.groups, threshold.count) == (8, 54, 9, 9)
    assert threshold.attained == pytest.approx(0.1)
    assert "9 groups of images are too few for a 5.0% false-alarm rate" in threshold.note
    assert conformal(np.arange(9.0), 0.2).groups == 0


def test_a_threshold_from_images_that_were_not_fitted_is_split_conformal(parts):
    train = load_category("widget", parts).train
    detector = recipe("padim-gabor", device="cpu").fit(train[5:])
    threshold = detector.calibrate(train[:5], 0.2)
    assert detector.threshold_ == threshold and threshold.images == 5 and detector.count == 7
    assert threshold.value == detector.score(train[:5]).scores.max()
    with pytest.raises(ModelError, match="there are none"):
        detector.calibrate([], 0.2)


def test_a_stored_threshold_is_read_and_a_damaged_one_refused():
    stored = {"value": 1.5, "false_alarm": 0.01, "images": 60, "note": ""}
    assert Threshold.of(stored) == Threshold(1.5, 0.01, 60)
    assert Threshold.of(None) is None
    for wrong in ({"value": float("inf")}, {"value": "x"}, {"images": 0}, {"false_alarm": 2}, {"more": 1}):
        with pytest.raises(ValueError, match="Threshold"):
            Threshold.of(stored | wrong)
