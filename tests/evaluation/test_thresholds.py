"""Thresholds: what is promised is kept over many draws, and what cannot be promised is said."""

import numpy as np
import pytest

from padim_nb import load_category, recipe
from padim_nb.errors import ModelError, OptionError
from padim_nb.evaluation.thresholds import (
    Threshold,
    conformal,
    cross_conformal,
    cross_conformal_bound,
    folds,
    split_fit,
)


def test_the_conformal_quantile_is_the_kth_smallest_score():
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 20.0))
    assert conformal(scores, 0.05).value == 19
    assert conformal(scores, 0.1).value == 18
    assert conformal(scores, 0.5).value == 10
    few = conformal(scores, 0.01)
    assert few.value == 19 and few.note == "19 images are too few for a 1.0% false-alarm rate: using the largest score"


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


def mean_distance(learned, x):
    return np.abs(x - learned.mean())


@pytest.mark.parametrize("count", [5, 20])  # CV+ with five folds; jackknife+ with one image a fold
def test_cv_plus_stays_below_its_bound(count):
    rng, stopped, n, alpha = np.random.default_rng(0), [], 20, 0.2
    for _ in range(400):
        own, new = rng.normal(size=n), rng.normal(size=30)
        held, judged = np.empty(n), np.empty((n, new.size))
        for fold in np.array_split(rng.permutation(n), count):
            learned = np.delete(own, fold)
            held[fold], judged[fold] = mean_distance(learned, own[fold]), mean_distance(learned, new)
        stopped.append((cross_conformal(held, judged) <= alpha).mean())
    assert 0.1 < np.mean(stopped) <= cross_conformal_bound(alpha, n, count)


def test_the_bound_of_jackknife_plus_is_twice_the_rate_and_that_of_few_folds_is_more():
    assert cross_conformal_bound(0.1, 60, 60) == pytest.approx(0.2)
    assert cross_conformal_bound(0.1, 60, 5) == pytest.approx(0.2 + min(2 * 0.8 / 13, (1 - 1 / 12) / 6))
    assert cross_conformal_bound(0.1, 100_000, 5) == pytest.approx(0.2, abs=1e-3)
    with pytest.raises(OptionError, match="folds must be 2 to 60"):
        cross_conformal_bound(0.1, 60, 61)
    with pytest.raises(OptionError, match=r"must be \(3, m\), not \(2, 5\)"):
        cross_conformal(np.zeros(3), np.zeros((2, 5)))


def test_p_values_count_the_held_out_images_that_look_at_least_as_odd():
    p = cross_conformal(np.array([1.0, 2.0, 3.0]), np.array([[0.0, 2.5, 9.0]] * 3))
    np.testing.assert_allclose(p, [1.0, 0.5, 0.25])


def test_a_split_fit_learns_from_one_part_and_sets_the_threshold_from_the_other(parts):
    train = load_category("widget", parts).train
    detector = recipe("padim-gabor", device="cpu")
    threshold = split_fit(detector, train, 0.2, share=0.4, seed=1)
    assert detector.threshold_ == threshold and threshold.images == 5 and detector.count == 7
    order = np.random.default_rng(1).permutation(12)
    held_out = [train[i] for i in sorted(order[:5])]
    assert threshold.value == detector.score(held_out).scores.max()
    with pytest.raises(ModelError, match="1 good images are too few to hold out 40%"):
        split_fit(detector, train[:1], 0.2, share=0.4)


def test_a_stored_threshold_is_read_and_a_damaged_one_refused():
    stored = {"value": 1.5, "false_alarm": 0.01, "images": 60, "note": ""}
    assert Threshold.of(stored) == Threshold(1.5, 0.01, 60)
    assert Threshold.of(None) is None
    for wrong in ({"value": float("inf")}, {"value": "x"}, {"images": 0}, {"false_alarm": 2}, {"more": 1}):
        with pytest.raises(ValueError, match="Threshold"):
            Threshold.of(stored | wrong)


def test_folds_hold_each_image_out_once():
    for count in (3, 7, 60):
        assert sorted(np.concatenate(folds(count))) == list(range(count))
    with pytest.raises(ModelError, match="at least 3"):
        folds(2)
