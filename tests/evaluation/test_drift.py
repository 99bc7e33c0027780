"""The drift alarm: its run length is at least what is stated, it notices a change both ways, it refuses nonsense."""

import numpy as np
import pytest

from padim_nb.errors import ModelError, OptionError
from padim_nb.evaluation.drift import DriftAlarm

GAUSSIAN = np.random.Generator.standard_normal


def equal(rng, size=None):
    """Scores without any order: their ranks are drawn."""
    return np.ones(size) if size else 1.0


def parts_until(alarm, scores):
    return next((part for part, score in enumerate(scores, 1) if alarm.add(score)), None)


@pytest.mark.parametrize("images", [5, 30])
@pytest.mark.parametrize("draw", [GAUSSIAN, np.random.Generator.standard_cauchy, equal])
def test_the_mean_run_length_is_at_least_the_stated_one(images, draw):
    rng, run_length, parts = np.random.default_rng(0), 50, []
    for seed in range(200):
        alarm = DriftAlarm(draw(rng, images), run_length, seed)
        parts.append(parts_until(alarm, (draw(rng) for _ in range(100_000))))
    assert np.mean(parts) - 2 * np.std(parts) / np.sqrt(200) > run_length


@pytest.mark.parametrize("shift", [3.0, -3.0])
def test_scores_that_rise_or_fall_are_noticed_soon(shift):
    rng = np.random.default_rng(0)
    for seed in range(20):
        alarm = DriftAlarm(rng.normal(size=30), 10_000, seed)
        assert parts_until(alarm, rng.normal(size=30)) is None
        assert parts_until(alarm, rng.normal(size=40) + shift) <= 20


def test_one_extreme_score_is_forgotten():
    rng = np.random.default_rng(0)
    alarm = DriftAlarm(rng.normal(size=100))
    assert not alarm.add(1e6)
    assert parts_until(alarm, rng.normal(size=200)) is None


def test_the_same_seed_gives_the_same_units():
    scores = np.random.default_rng(0).integers(0, 5, 50)
    totals = []
    for _ in range(2):
        alarm = DriftAlarm(scores[:20], seed=3)
        totals.append([alarm.add(score) or alarm.total for score in scores[20:]])
    assert totals[0] == totals[1]


def test_what_cannot_be_ranked_is_refused():
    for held_out in ([], [1.0, np.nan]):
        with pytest.raises(ModelError, match="against the scores of good images"):
            DriftAlarm(held_out)
    for run_length in (0, -5, np.nan, np.inf):
        with pytest.raises(OptionError, match="run_length is a number of parts"):
            DriftAlarm([1.0], run_length)
    alarm = DriftAlarm([1.0, 2.0])
    with pytest.raises(ModelError, match="cannot be ranked"):
        alarm.add(float("nan"))
    assert alarm.total == 0
