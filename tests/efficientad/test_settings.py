"""The settings of EfficientAD and of the least-squares student: wrong values are refused where they are made."""

from dataclasses import asdict, replace

import pytest

from padim_nb.data.images import Frame
from padim_nb.efficientad.settings import EfficientADSettings, Training
from padim_nb.errors import OptionError
from padim_nb.least_squares.settings import LeastSquaresSettings
from padim_nb.util.validation import from_plain


@pytest.mark.parametrize(
    ("make", "values", "message"),
    [
        (EfficientADSettings, {"border": "zzz"}, "no border 'zzz' .*known: replicate, zero, raw-zero"),
        (EfficientADSettings, {"border": "zeros"}, "did you mean 'zero'"),
        (EfficientADSettings, {"size": "large"}, "no size 'large'"),
        (EfficientADSettings, {"precision": "float16"}, "no precision 'float16'"),
        (EfficientADSettings, {"quantiles": (0.995, 0.9)}, r"quantiles must rise, not \(0.995, 0.9\)"),
        (EfficientADSettings, {"quantiles": (0.9, 1.5)}, "quantiles.1: input should be less than 1, not 1.5"),
        (EfficientADSettings, {"held_out": 1.0}, "held_out: input should be less than 1, not 1.0"),
        (EfficientADSettings, {"penalties": 0}, "penalties: .*not 0"),
        (Training, {"steps": -5}, "steps: .*not -5"),
        (Training, {"steps": 0}, "steps: .*not 0"),
        (Training, {"rate": float("nan")}, "rate: .*finite"),
        (Training, {"rate": 0}, "rate: .*not 0"),
        (Training, {"drop_at": 95}, "drop_at: .*not 95"),
        (Training, {"seed": -1}, "seed: .*not -1"),
        (EfficientADSettings, {"width": 0}, "width: .*not 0"),
        (LeastSquaresSettings, {"images": 0}, "images: .*not 0"),
        (LeastSquaresSettings, {"ridge": 0}, "ridge: .*not 0"),
        (LeastSquaresSettings, {"weights": ""}, "weights: .*at least 1 character"),
        (LeastSquaresSettings, {"quantiles": (0.9, 0.9)}, r"quantiles must rise, not \(0.9, 0.9\)"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(make, values, message):
    for settings in (lambda: make(**values), lambda: replace(make(), **values)):
        with pytest.raises(OptionError, match=message) as error:
            settings()
        assert "\n" not in str(error.value)


def test_settings_survive_plain_values():
    settings = EfficientADSettings(training=Training(gray=0.5), frame=Frame((256, 300)), penalty="none")
    assert from_plain(EfficientADSettings, asdict(settings)) == settings
