"""The report: values with enough digits, intervals over images, two detectors compared."""

import re
import tracemalloc

import numpy as np
import pytest

from padim_nb import evaluate, load_category
from padim_nb.data.images import Frame, masks
from padim_nb.data.maps import AnomalyMaps
from padim_nb.errors import OptionError
from padim_nb.evaluation.report import format_value, paired


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0840, "0.0840"), (0.1304, "0.130"), (38.81, "38.8"), (99.96, "100"), (1234.5, "1234"), (-0.5, "-0.500"),
        (0.0, "0.00"), (1.2e-7, "1.20e-07"), (7, "7.00"), (None, "-"),
    ],
)  # fmt: skip
def test_a_threshold_has_three_significant_digits(value, text):
    assert format_value(value) == text


def test_a_report_has_an_interval_over_images_around_its_image_auroc(parts):
    test = load_category("widget", parts).test
    scores = np.array([1, 4, 2, 3, 9, 3.5, 8, 1.5, 7.0])
    report = evaluate(np.zeros((9, 64, 64)), test, scores)
    low, high = report.intervals["image_auroc"]
    assert 0 <= low < report.metrics["image_auroc"] < high <= 1
    assert f"image_auroc    {report.metrics['image_auroc']:.3f}  [{low:.3f}, {high:.3f}]" in str(report)
    assert report.as_dict()["intervals"]["image_auroc"] == [low, high]
    assert evaluate(np.zeros((4, 64, 64)), test[:4]).intervals == {}


def noisy(seed, samples, strength):
    noise = np.random.default_rng(seed).normal(0, 1, (len(samples), 64, 64))
    return noise + strength * masks(samples, Frame((64, 64)))


def test_pixel_metrics_have_intervals_where_there_are_masks_and_good_images(parts):
    test = load_category("widget", parts).test
    report = evaluate(noisy(0, test, 1), test)
    assert set(report.intervals) == {"image_auroc", "pixel_auroc", "aupro", "aupro_05"}
    for name, (low, high) in report.intervals.items():
        assert low < report.metrics[name] < high, name
    assert set(evaluate(noisy(0, test, 1)[4:], test[4:]).intervals) == set()
    assert {"draws", "images"}.isdisjoint(report.as_dict())


def test_two_detectors_are_compared_on_the_same_images_draw_by_draw(parts):
    test = load_category("widget", parts).test
    strong, weak = evaluate(noisy(0, test, 2), test), evaluate(noisy(1, test, 1), test)
    difference = paired(strong, weak, "pixel_auroc")
    assert 0 < difference.low < difference.first - difference.second < difference.high and difference.above == 1
    assert re.fullmatch(
        r"pixel_auroc: 0\.\d{3} - 0\.\d{3} = \+0\.\d{3}  \[\+0\.\d{3}, \+0\.\d{3}\], "
        r"the first is better in 100% of the draws",
        str(difference),
    )
    same = paired(strong, strong)
    assert (same.low, same.high, same.above) == (0, 0, 0)
    with pytest.raises(OptionError, match="other images, or in another order"):
        paired(strong, evaluate(noisy(0, test[::-1], 2), test[::-1]))
    with pytest.raises(OptionError, match="no metric with an interval 'image_ap'"):
        paired(strong, weak, "image_ap")


def test_the_memory_of_an_evaluation_is_bounded_by_that_of_the_maps(parts):
    """What a recipe whose maps have the size of the images' files says it takes."""
    test = load_category("widget", parts).test
    large = AnomalyMaps.of(noisy(0, test, 1), Frame((64, 64))).resized(768, 768)
    evaluate(large[[0, 5]], [test[0], test[5]])  # what is loaded on first use
    tracemalloc.start()
    report = evaluate(large, test)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.metrics["aupro"] > 0.5
    assert peak < 4 * large.maps.nbytes
