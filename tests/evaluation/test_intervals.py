"""Bootstrap intervals held against the loop that draws images and computes the AUROC anew."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from padim_nb.evaluation.intervals import bootstrap_auroc


@pytest.mark.parametrize("ties", [False, True])
def test_the_interval_is_that_of_the_slow_loop(ties):
    g = np.random.default_rng(1)
    good, bad = g.normal(0, 1, 25), g.normal(1, 1, 40)
    if ties:
        good, bad = good.round(), bad.round()
    rng, values = np.random.default_rng(0), []
    for _ in range(200):
        a, b = np.sort(good)[rng.integers(0, 25, 25)], np.sort(bad)[rng.integers(0, 40, 40)]
        values.append(roc_auc_score(np.r_[np.zeros(25), np.ones(40)], np.r_[a, b]))
    assert bootstrap_auroc(good, bad, resamples=200) == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=1e-12)


def test_more_images_make_it_shorter_and_the_seed_decides_it():
    g = np.random.default_rng(0)
    few = bootstrap_auroc(g.normal(0, 1, 15), g.normal(1, 1, 15))
    many_scores = g.normal(0, 1, 1500), g.normal(1, 1, 1500)
    many = bootstrap_auroc(*many_scores)
    assert many[1] - many[0] < 0.3 * (few[1] - few[0])
    assert bootstrap_auroc(*many_scores) == many != bootstrap_auroc(*many_scores, seed=1)
    assert bootstrap_auroc(np.zeros(5), np.ones(5)) == (1.0, 1.0)
