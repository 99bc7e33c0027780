"""What counts prove: hand-computed numbers, scipy, and draws."""

import numpy as np
import pytest
from scipy.stats import binomtest

from padim_nb.evaluation.acceptance import Count, Guarantee, parts_needed
from padim_nb.evaluation.thresholds import Threshold, conformal


def test_intervals_are_those_of_clopper_and_pearson():
    assert Count(2, 10).interval == pytest.approx((0.0252, 0.5561), abs=1e-4)  # 8 of 10 stopped
    assert Count(0, 10).interval == pytest.approx((0, 1 - 0.025**0.1))
    assert Count(10, 10).interval == pytest.approx((0.025**0.1, 1))
    for wrong, parts in ((1, 20), (3, 7), (63, 119)):
        expected = binomtest(wrong, parts).proportion_ci(0.95, method="exact")
        assert Count(wrong, parts).interval == (expected.low, expected.high)
        one_sided = binomtest(wrong, parts, alternative="less").proportion_ci(0.95, method="exact")
        assert Count(wrong, parts).at_most == one_sided.high < expected.high


def test_none_missed_is_the_rule_of_three():
    for parts in (10, 100, 1000):
        assert Count(0, parts).at_most == pytest.approx(1 - 0.05 ** (1 / parts))
    assert Count(0, 1000).at_most == pytest.approx(3 / 1000, rel=0.005)


def test_without_parts_nothing_is_known():
    count = Count(0, 0)
    assert count.share is None and count.interval == (0, 1) and count.at_most == 1
    assert not count.shows(0.99) and count.parts_missing(0.1) == 29


@pytest.mark.parametrize(("limit", "parts"), [(0.1, 29), (0.05, 59), (0.01, 299), (0.001, 2995)])
def test_the_parts_that_a_limit_takes_without_a_mistake(limit, parts):
    assert parts_needed(limit) == parts == np.ceil(np.log(0.05) / np.log(1 - limit))


@pytest.mark.parametrize("wrong", [0, 1, 5])
@pytest.mark.parametrize("limit", [0.5, 0.1, 0.013])
def test_one_part_less_would_not_do(limit, wrong):
    parts = parts_needed(limit, wrong)
    assert Count(wrong, parts).shows(limit) and not Count(wrong, parts - 1).shows(limit)
    assert Count(wrong, parts).parts_missing(limit) == 0 and Count(wrong, parts - 3).parts_missing(limit) == 3


def test_a_threshold_guarantees_what_its_rank_does():
    assert [round(Guarantee(n, 1).at_most, 2) for n in (29, 59, 299)] == [0.1, 0.05, 0.01]
    assert Guarantee(29, 1).average == 1 / 30
    assert Guarantee.of(Threshold(1.0, 0.1, 99)) == Guarantee(99, 10)
    assert Guarantee.of(Threshold(1.0, 0.01, 30)) == Guarantee(30, 1), "too few images: the largest score"


def test_the_rank_is_that_of_the_conformal_quantile():
    for images in (3, 19, 30, 99, 112):
        scores = np.arange(float(images))
        for rate in (0.01, 0.05, 0.1, 0.2):
            threshold = conformal(scores, rate)
            assert Guarantee.of(threshold).rank == (scores >= threshold.value).sum()


def test_the_guarantee_holds_over_draws():
    rng, guarantee = np.random.default_rng(0), Guarantee(39, 4)
    thresholds = np.sort(rng.random((20_000, 39)))[:, -4]
    stopped = 1 - thresholds  # of new uniform scores
    assert stopped.mean() == pytest.approx(guarantee.average, abs=0.002)
    assert np.quantile(stopped, 0.95) == pytest.approx(guarantee.at_most, abs=0.003)
