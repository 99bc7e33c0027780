"""From maps to image scores, and from the scores of good images to a threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError, OptionError

FOLDS = 5
ENOUGH = 1000  # good images from which a threshold is set, where the share of false alarms asks for no more


@dataclass(frozen=True)
class Threshold:
    """An image score above which a part is called defective, set from good images alone."""

    value: float
    false_alarm: float
    images: int
    note: str = ""

    @classmethod
    def of(cls, kept: Mapping[str, object] | None) -> Threshold | None:
        """What a model file holds of a threshold, checked; None where it holds none."""
        if not kept:
            return None
        found = cls(**kept)
        if not math.isfinite(found.value):
            raise ValueError(f"a threshold of {found.value}")
        return found


def enough(false_alarm: float) -> int:
    """How many good images a threshold for this share needs at most; further ones are not looked at."""
    _expect_share(false_alarm)
    return max(ENOUGH, math.ceil(2 / false_alarm))


def folds(count: int, seed: int = 0) -> list[np.ndarray]:
    """Which of `count` images each fold holds out, drawn at random."""
    if count < 3:
        raise ModelError(f"calibration needs at least 3 good images, there are {count}")
    order = np.random.default_rng(seed).permutation(count)
    number = min(FOLDS, count)
    return [np.sort(order[fold::number]) for fold in range(number)]


def conformal(scores: np.ndarray, false_alarm: float) -> Threshold:
    """The threshold that about `false_alarm` of new good parts exceed, from scores of good parts a model has not seen.

    Fewer than 1 / false_alarm - 1 images cannot tell so small a share: the threshold is then their largest score.
    """
    _expect_share(false_alarm)
    scores = np.sort(scores)
    rank = math.ceil((len(scores) + 1) * (1 - false_alarm))
    note = ""
    if rank > len(scores):
        rank = len(scores)
        note = f"{len(scores)} images cannot promise {false_alarm:.1%}: the largest of their scores was taken"
    return Threshold(float(scores[rank - 1]), false_alarm, len(scores), note)


def _expect_share(false_alarm: float) -> None:
    if not 0 < false_alarm < 1:
        raise OptionError(f"false_alarm is a share between 0 and 1, not {false_alarm}")
