"""The report: values with enough digits, an interval beside the image AUROC."""

import numpy as np
import pytest

from padim_nb import evaluate, load_category
from padim_nb.evaluation.report import format_value


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
    assert report.as_dict()["intervals"] == {"image_auroc": [low, high]}
    assert evaluate(np.zeros((4, 64, 64)), test[:4]).intervals == {}
