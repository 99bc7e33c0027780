"""From the scores of good images to a threshold, and what each way of setting it promises.

Split conformal: the images that set the threshold had no part in the model. At most `false_alarm` of new good parts
exceed it, on average over calibrations, whatever the scores' distribution, if these parts are exchangeable with the
calibration images. The price is images that the model cannot learn from (`split_fit`).

Folds (what `fit` and `calibrate` of the detectors do): every image is scored by a model without its fold, the model
that judges new parts has all images. Nothing is proven for this: it tends to fewer false alarms than asked, as the
fold models know fewer images, but can also exceed them.

CV+ and jackknife+: the fold models judge new parts too, each against the images it has not seen. At most
2 x `false_alarm` of new good parts are stopped, plus a term that vanishes with one fold an image (`cross_conformal`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..data.mvtec import Sample
from ..errors import ModelError, OptionError
from ..util.validation import from_plain, validated

Array = np.ndarray
FOLDS = 5
ENOUGH = 1000  # good images from which a threshold is set, where the false-alarm rate asks for no more


@validated
class Threshold:
    """An image score above which a part is called defective, set from good images alone."""

    value: float
    false_alarm: Annotated[float, Field(gt=0, lt=1)]
    images: Annotated[int, Field(ge=1)]
    note: str = ""

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> Threshold | None:
        """The threshold that a model file holds; None where it holds none, ValueError where it is damaged."""
        if not values:
            return None
        try:
            return from_plain(cls, values)
        except OptionError as error:
            raise ValueError(str(error)) from None


def conformal(scores: Array, false_alarm: float) -> Threshold:
    """The conformal quantile of the scores (n,) of good images that the model has not seen.

    It is the k-th smallest score with k = ceil((n + 1) (1 - false_alarm)). Fewer than 1 / false_alarm - 1 images are
    too few for the rate: the threshold is then their largest score, and its note says so.
    """
    _expect_share(false_alarm)
    scores = np.sort(np.asarray(scores, dtype=np.float64))
    if not scores.size or np.isnan(scores[-1]):
        raise ModelError("a threshold needs the scores of good images: there are none, or some are NaN")
    rank = math.ceil((scores.size + 1) * (1 - false_alarm))
    note = ""
    if rank > scores.size:
        rank = scores.size
        note = f"{rank} images are too few for a {false_alarm:.1%} false-alarm rate: using the largest score"
    return Threshold(float(scores[rank - 1]), false_alarm, scores.size, note)


def split_fit(
    detector: Any, samples: Sequence[Sample], false_alarm: float = 0.01, share: float = 0.5, seed: int = 0
) -> Threshold:
    """Fit a detector on a part of the good samples and set its threshold from the rest: true split conformal.

    Args:
        detector: either method's; it is fitted anew.
        samples: good images, of which `share` are drawn to set the threshold.
        false_alarm: the promise: at most this share of new good parts is stopped, on average over such draws.
    """
    _expect_share(share, "share")
    order = np.random.default_rng(seed).permutation(len(samples))
    count = round(share * len(samples))
    if not 1 <= count < len(samples):
        raise ModelError(f"{len(samples)} good images are too few to hold out {share:.0%} of them: give more")
    detector.fit([samples[i] for i in np.sort(order[count:])])
    held_out = detector.score([samples[i] for i in np.sort(order[:count])]).scores
    detector.threshold_ = threshold = conformal(held_out, false_alarm)
    return threshold


def cross_conformal(held_out: Array, new: Array) -> Array:
    """p-values of new images by CV+ (or jackknife+, with one fold an image).

    Calling an image defective where its p-value is at most alpha stops good parts at no more than the rate
    `cross_conformal_bound(alpha, n, folds)`.

    Args:
        held_out: score of each of n good images (n,) by the model of the other folds.
        new: scores (n, m) of m new images; row i by the model that scored held-out image i.

    Returns:
        (m,), between 1 / (n + 1) and 1.
    """
    if new.ndim != 2 or len(new) != len(held_out):
        raise OptionError(f"scores of new images must be ({len(held_out)}, m), not {new.shape}")
    return (1 + (held_out[:, None] >= new).sum(axis=0)) / (len(held_out) + 1)


def cross_conformal_bound(false_alarm: float, images: int, folds: int) -> float:
    """The false-alarm rate that CV+ never exceeds (Barber et al. 2021, theorem 4); 2 x false_alarm for jackknife+."""
    _expect_share(false_alarm)
    if not 2 <= folds <= images:
        raise OptionError(f"folds must be 2 to {images}, one for each image at most, not {folds}")
    excess = min(2 * (1 - 1 / folds) / (images / folds + 1), (1 - folds / images) / (folds + 1))
    return min(1.0, 2 * false_alarm + excess)


def enough(false_alarm: float) -> int:
    """How many good images a threshold for this rate needs at most; further ones are not used."""
    _expect_share(false_alarm)
    return max(ENOUGH, math.ceil(2 / false_alarm))


def folds(count: int, seed: int = 0) -> list[Array]:
    """The numbers of the images that each fold holds out, of `count` images drawn at random."""
    if count < 3:
        raise ModelError(f"calibration needs at least 3 good images, there are {count}")
    order = np.random.default_rng(seed).permutation(count)
    number = min(FOLDS, count)
    return [np.sort(order[fold::number]) for fold in range(number)]


def _expect_share(value: float, name: str = "false_alarm") -> None:
    if not 0 < value < 1:
        raise OptionError(f"{name} is a share between 0 and 1, not {value}")
