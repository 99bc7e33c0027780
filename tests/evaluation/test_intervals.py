"""Bootstrap intervals held against the loop that draws images and computes every metric anew."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from padim_nb.evaluation import metrics
from padim_nb.evaluation.intervals import bootstrap_auroc, draws, image_auroc, interval, pixel_statistics

LIMITS = {"aupro": 0.3, "aupro_05": 0.05}


def drawn(good: int, defective: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The numbers of the images in each test set that `draws` makes."""
    rng = np.random.default_rng(0)
    weights = [rng.multinomial(number, np.full(number, 1 / number), count) for number in (good, defective)]
    return [tuple(np.repeat(np.arange(w.size), w) for w in pair) for pair in zip(*weights, strict=True)]


@pytest.mark.parametrize("ties", [False, True])
def test_each_draw_has_the_auroc_of_its_images(ties):
    g = np.random.default_rng(1)
    good, bad = g.normal(0, 1, 25), g.normal(1, 1, 40)
    if ties:
        good, bad = good.round(), bad.round()
    labels = np.r_[np.zeros(25), np.ones(40)]
    wanted = [roc_auc_score(labels, np.r_[good[a], bad[b]]) for a, b in drawn(25, 40, 200)]
    values = draws({"auroc": image_auroc(good, bad)}, 25, 40, 200)["auroc"]
    np.testing.assert_allclose(values, wanted, atol=1e-12)
    assert bootstrap_auroc(good, bad, resamples=200) == pytest.approx(np.quantile(wanted, [0.025, 0.975]), abs=1e-12)


def test_each_draw_has_the_pixel_metrics_of_its_images():
    g = np.random.default_rng(2)
    masks = np.zeros((12, 32, 32), dtype=bool)
    for number in range(5, 12):
        top, left, side = g.integers([0, 0, 2], [20, 20, 10])
        masks[number, top : top + side, left : left + side] = masks[number, 30:, 30:] = True
    maps = (g.normal(0, 1, masks.shape) + masks * g.uniform(0, 3, (12, 1, 1))).astype(np.float32)
    statistics = pixel_statistics(maps, masks, metrics.Regions.of(maps, masks), masks.any(axis=(1, 2)), LIMITS)
    values = draws(statistics, 5, 7, 20)
    for number, (a, b) in enumerate(drawn(5, 7, 20)):
        chosen = np.r_[a, b + 5]
        scores, labels = maps[chosen].ravel(), masks[chosen].ravel()
        assert values["pixel_auroc"][number] == pytest.approx(roc_auc_score(labels, scores), abs=5e-4)
        for name, limit in LIMITS.items():
            assert values[name][number] == pytest.approx(metrics.aupro(maps[chosen], masks[chosen], limit), abs=5e-3)


def test_more_images_make_it_shorter_and_the_seed_decides_it():
    g = np.random.default_rng(0)
    few = bootstrap_auroc(g.normal(0, 1, 15), g.normal(1, 1, 15))
    many_scores = g.normal(0, 1, 1500), g.normal(1, 1, 1500)
    many = bootstrap_auroc(*many_scores)
    assert many[1] - many[0] < 0.3 * (few[1] - few[0])
    assert bootstrap_auroc(*many_scores) == many != bootstrap_auroc(*many_scores, seed=1)
    assert bootstrap_auroc(np.zeros(5), np.ones(5)) == (1.0, 1.0)


def test_a_draw_that_has_no_metric_is_left_out():
    assert interval(np.array([0.5, np.nan, 0.5])) == (0.5, 0.5)


def test_the_interval_holds_the_true_value_about_as_often_as_it_says():
    g = np.random.default_rng(0)
    truth = 0.7602499389065233  # of normal scores one deviation apart
    ends = np.array([bootstrap_auroc(g.normal(0, 1, 40), g.normal(1, 1, 40), resamples=400) for _ in range(200)])
    assert 0.88 < ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean() <= 0.99
