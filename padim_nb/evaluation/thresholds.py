"""From the held-out scores of good images to a threshold, and what it guarantees.

PaDiM scores each training image by Gaussians of all others (leave-one-out, in closed form: `padim/leave_one_out.py`),
EfficientAD holds images out of its training. The threshold is the conformal quantile of these scores. For scores of
images that a fixed model has never seen, at most `false_alarm` of new good parts exceed it, on average over
calibrations, whatever the scores' distribution, if parts and calibration images are exchangeable (split conformal:
`fit` to some images, `calibrate` with others). With leave-one-out the model that judges new parts has one image more:
the rate is met for models that one image hardly changes, from about thirty images on. For fewer, PaDiM's exact p-values
guarantee it at any number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..errors import ModelError, OptionError
from ..util.validation import from_plain, validated

Array = np.ndarray
FALSE_ALARM = 0.05  # unless another rate is requested


@validated
class Threshold:
    """An image score above which a part is called defective, set from good images alone.

    Args:
        value: the score.
        false_alarm: the requested share of good parts above it.
        images: good images that it was set from.
        note: what is to be known about it.
        groups: of these images, where some belong together; 0 where each is on its own.
    """

    value: float
    false_alarm: Annotated[float, Field(gt=0, lt=1)]
    images: Annotated[int, Field(ge=1)]
    note: str = ""
    groups: Annotated[int, Field(ge=0)] = 0

    @property
    def count(self) -> int:
        """Independent scores that it was set from."""
        return self.groups or self.images

    @property
    def basis(self) -> str:
        """In words what it was set from."""
        images = f"{self.images} good images"
        return f"{self.groups} groups of {images}" if self.groups else images

    @property
    def attained(self) -> float:
        """The share of good parts above it, on average: the nearest multiple of 1 / (count + 1) below the requested."""
        return (self.count + 1 - _rank(self.count, self.false_alarm)) / (self.count + 1)

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> Threshold | None:
        """The threshold that a model file holds; None where it holds none, ValueError where it is damaged."""
        if not values:
            return None
        try:
            return from_plain(cls, values)
        except OptionError as error:
            raise ValueError(str(error)) from None


def conformal(scores: Array, false_alarm: float = FALSE_ALARM, groups: Array | None = None) -> Threshold:
    """The conformal quantile of the held-out scores (n,) of good images.

    It is the k-th smallest score with k = ceil((n + 1) (1 - false_alarm)). Fewer than 1 / false_alarm - 1 scores are
    too few for the rate: the threshold is then the largest, and its note says so.

    Args:
        scores: one for each image.
        false_alarm: the share of new good parts that may exceed the threshold.
        groups: the number of each image's group (n,), where some belong together: the largest score of each counts.

    >>> conformal(np.arange(19.0), 0.1).value
    17.0
    """
    expect_rate(false_alarm)
    scores = np.asarray(scores, dtype=np.float64)
    images = scores.size
    if groups is not None and images:
        order = np.argsort(groups, kind="stable")
        scores = np.maximum.reduceat(scores[order], np.unique(groups[order], return_index=True)[1])
    scores = np.sort(scores)
    if not scores.size or np.isnan(scores[-1]):
        raise ModelError("a threshold needs the scores of good images: there are none, or some are NaN")
    count = scores.size if images > scores.size else 0
    rank, note = _rank(scores.size, false_alarm), ""
    if math.ceil((scores.size + 1) * (1 - false_alarm)) > scores.size:
        what = "groups of images" if count else "images"
        note = (
            f"{scores.size} {what} are too few for a {false_alarm:.1%} false-alarm rate: using the largest score, "
            f"which {1 / (scores.size + 1):.1%} of good parts exceed on average"
        )
    return Threshold(float(scores[rank - 1]), false_alarm, images, note, count)


def _rank(count: int, false_alarm: float) -> int:
    return min(count, math.ceil((count + 1) * (1 - false_alarm)))


def expect_rate(false_alarm: float) -> None:
    """OptionError unless it is a share between 0 and 1."""
    if not 0 < false_alarm < 1:
        raise OptionError(f"false_alarm is a share between 0 and 1, not {false_alarm}")
