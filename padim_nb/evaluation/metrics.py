"""Exact AUROC, AP, F1-max, AUPRO and AUPIMO from one sort of the normal scores.

Every metric here depends on an anomalous score only through how many normal scores lie above it, and at or above it.
No thresholds are chosen, so no monotone change of the scores changes a result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..errors import OptionError

Array = np.ndarray
EIGHT = np.ones((3, 3), dtype=bool)  # pixels that touch at a corner belong to one region, as in MVTec's evaluation


@dataclass(frozen=True)
class Ranks:
    """Anomalous scores (m,) in rising order, each with its counts of normal scores above it and at or above it."""

    scores: Array
    order: Array  # the place of each sorted score before sorting
    above: Array
    at_or_above: Array
    normal: int  # how many normal scores there are

    @classmethod
    def of(cls, normal: Array, anomalous: Array) -> Ranks:
        """Rank anomalous scores (m,) among normal ones (n,), both in any order."""
        return cls.of_sorted(np.sort(normal), anomalous)

    @classmethod
    def of_sorted(cls, normal: Array, anomalous: Array) -> Ranks:
        """Like `of` for normal scores in rising order."""
        order = np.argsort(anomalous, kind="stable")
        scores = anomalous[order]
        above = normal.size - np.searchsorted(normal, scores, side="right")
        at_or_above = normal.size - np.searchsorted(normal, scores, side="left")
        return cls(scores, order, above, at_or_above, normal.size)

    @property
    def defined(self) -> bool:
        """Whether there are scores of both kinds."""
        return bool(self.normal and self.scores.size)

    def auroc(self) -> float:
        """The chance that an anomalous score exceeds a normal one; a tie counts half."""
        return float(1.0 - (self.above.mean() + self.at_or_above.mean()) / (2 * self.normal))

    def average_precision(self) -> float:
        """Step-wise area under precision over recall (scikit-learn's average_precision_score)."""
        starts = self._starts()
        true, false = self.scores.size - starts, self.at_or_above[starts]
        steps = np.diff(np.r_[starts, self.scores.size])
        return float((steps * true / (true + false)).sum() / self.scores.size)

    def best_f1(self) -> tuple[float, float]:
        """(largest F1 over all thresholds, the score that reaches it); scores >= threshold count as anomalous."""
        starts = self._starts()
        true, false = self.scores.size - starts, self.at_or_above[starts]
        f1 = 2.0 * true / (true + false + self.scores.size)
        best = int(f1.argmax())
        return float(f1[best]), float(self.scores[starts[best]])

    def recall_below(self, limit: float) -> Array:
        """For each score, the share of false-positive rates in [0, limit] at which it is detected: (m,), sorted order.

        The mean of this over a region is that region's part of the AUPRO; ties give a ramp instead of a step.
        """
        low, high = self.above / self.normal, self.at_or_above / self.normal
        whole = limit - (low + high) / 2
        ramp = np.square(np.maximum(limit - low, 0.0)) / np.maximum(2 * (high - low), 1e-300)
        return np.where(high <= limit, whole, np.where(low < limit, ramp, 0.0)) / limit

    def recall_in_log(self, low: float, high: float) -> Array:
        """Like `recall_below` over rates in [low, high] on a logarithmic axis, as AUPIMO has it."""
        rate = np.maximum(self.at_or_above / self.normal, low)
        return np.clip(np.log(high / rate) / np.log(high / low), 0.0, 1.0)

    def unsorted(self, values: Array) -> Array:
        """Values (m,) in sorted order, in the order that the scores had before."""
        out = np.empty_like(values)
        out[self.order] = values
        return out

    def _starts(self) -> Array:
        """Where each distinct score begins in the sorted scores."""
        return np.flatnonzero(np.r_[True, self.scores[1:] != self.scores[:-1]])


@dataclass(frozen=True)
class Regions:
    """The anomalous pixels of a test set: score, region and image of each; regions are numbered over all images."""

    scores: Array
    region: Array
    image: Array
    region_image: Array  # the image of each region

    @classmethod
    def of(cls, maps: Array, masks: Array) -> Regions:
        """Label the connected regions of masks (n, height, width) and collect the scores of the maps inside them."""
        within_images = np.pad(EIGHT[None], ((1, 1), (0, 0), (0, 0)))
        labels, count = ndimage.label(masks[masks.any(axis=(1, 2))], structure=within_images)
        region, image = labels[labels > 0] - 1, np.nonzero(masks)[0]
        region_image = np.zeros(count, dtype=np.intp)
        region_image[region] = image
        return cls(maps[masks], region, image, region_image)

    def of_images(self, chosen: Array) -> Regions:
        """Only the pixels and regions of the images where `chosen` (n,) is true."""
        pixels, regions = chosen[self.image], chosen[self.region_image]
        number = np.cumsum(regions) - 1
        return Regions(self.scores[pixels], number[self.region[pixels]], self.image[pixels], self.region_image[regions])

    def mean_by_region(self, values: Array) -> Array:
        """Mean over each region of one value a pixel: (regions,)."""
        return np.bincount(self.region, values) / np.bincount(self.region)

    def mean_by_image(self, values: Array) -> tuple[Array, Array]:
        """(numbers of the images that have regions, mean over each of one value a pixel)."""
        numbers, inverse = np.unique(self.image, return_inverse=True)
        return numbers, np.bincount(inverse, values) / np.bincount(inverse)


def rank_pixels(maps: Array, masks: Array, roi: Array | np.bool_ = np.True_) -> tuple[Array, Regions]:
    """(scores of all normal pixels in rising order, anomalous ones by region) of maps and masks (n, height, width).

    Normal pixels count where the region of interest `roi` (height, width) is true.
    """
    normal = maps[~masks & roi]
    normal.sort()
    return normal, Regions.of(maps, masks)


def auroc(scores: Array, labels: Array) -> float:
    """Area under the ROC curve of scores (n,) for labels (n,), 1 or True for anomalous."""
    scores, labels = _both_classes(scores, labels)
    return Ranks.of(scores[~labels], scores[labels]).auroc()


def average_precision(scores: Array, labels: Array) -> float:
    """Step-wise average precision of scores (n,) for labels (n,)."""
    scores, labels = _both_classes(scores, labels)
    return Ranks.of(scores[~labels], scores[labels]).average_precision()


def best_f1(scores: Array, labels: Array) -> tuple[float, float]:
    """(largest F1, its threshold) of scores (n,) for labels (n,)."""
    scores, labels = _both_classes(scores, labels)
    return Ranks.of(scores[~labels], scores[labels]).best_f1()


def roc_curve(scores: Array, labels: Array) -> tuple[Array, Array]:
    """(false-positive rate, true-positive rate) from (0, 0) to (1, 1); straight lines between the points are exact."""
    from sklearn import metrics  # takes a second to load: only curves need it

    scores, labels = _both_classes(scores, labels)
    false_positive_rate, true_positive_rate, _ = metrics.roc_curve(labels, scores)
    return false_positive_rate, true_positive_rate


def precision_recall(scores: Array, labels: Array) -> tuple[Array, Array]:
    """(recall, precision) at all thresholds, recall rising from 0 to 1."""
    from sklearn import metrics

    scores, labels = _both_classes(scores, labels)
    precision, recall, _ = metrics.precision_recall_curve(labels, scores, drop_intermediate=True)
    return recall[::-1], precision[::-1]


def aupro(maps: Array, masks: Array, limit: float = 0.3) -> float:
    """Mean over regions of the share of each that is detected, averaged over false-positive rates up to `limit`.

    Args:
        maps: anomaly maps (n, height, width).
        masks: the truth, bool (n, height, width).
    """
    return float(region_overlap(maps, masks, limit).mean())


def region_overlap(maps: Array, masks: Array, limit: float = 0.3) -> Array:
    """The AUPRO of every region by itself: (regions,), numbered image after image."""
    maps, masks = _both_classes(maps, masks)
    normal, regions = rank_pixels(maps, masks)
    return overlap(Ranks.of_sorted(normal, regions.scores), regions, limit)


def overlap(ranks: Ranks, regions: Regions, limit: float) -> Array:
    """`region_overlap` from the ranks of the regions' scores."""
    return regions.mean_by_region(ranks.unsorted(ranks.recall_below(limit)))


def saturated_overlap(ranks: Ranks, area: float, limit: float) -> float:
    """The saturated overlap (sPRO) of one region, averaged over false-positive rates up to `limit`.

    At a threshold it is min(detected pixels / `area`, 1): only the `area` highest scores of the region count, the last
    of them by its fraction.

    Args:
        ranks: of the region's scores (m,).
        area: the saturation area in pixels, above 0 and at most m.
        limit: the largest false-positive rate.
    """
    weights = np.clip(area - np.arange(ranks.scores.size), 0.0, 1.0)  # from the highest score on
    return float(weights @ ranks.recall_below(limit)[::-1]) / area


def aupimo(
    maps: Array, masks: Array, good: Array, low: float = 1e-5, high: float = 1e-4, roi: Array | np.bool_ = np.True_
) -> Array:
    """AUPIMO of each image (n,): recall of its anomalous pixels over false-positive rates from `low` to `high`, on a
    logarithmic axis, where the rate is measured on the images where `good` (n,) is true, in their pixels where `roi`
    (height, width) is.

    NaN for images without anomaly, and everywhere if the good pixels are too few (less than 1 / low) for such a rate.
    """
    result = np.full(len(maps), np.nan)
    normal = np.sort(maps[good][np.broadcast_to(roi, maps[good].shape)])
    regions = Regions.of(maps, masks)
    if normal.size * low < 1.0 or not regions.scores.size:
        return result
    ranks = Ranks.of_sorted(normal, regions.scores)
    numbers, means = regions.mean_by_image(ranks.unsorted(ranks.recall_in_log(low, high)))
    result[numbers] = means
    return result


def _both_classes(scores: Array, labels: Array) -> tuple[Array, Array]:
    """Scores and boolean labels of one shape, refused unless both classes are there and all scores are numbers."""
    scores, labels = np.asarray(scores), np.asarray(labels).astype(bool)
    if scores.shape != labels.shape:
        raise OptionError(f"scores {scores.shape} and labels {labels.shape} differ in shape: give one label a score")
    if labels.all() or not labels.any():
        kind = "anomalous" if labels.size and labels.all() else "normal"
        raise OptionError(f"all {labels.size} labels are {kind}: this metric needs normal and anomalous scores")
    if np.isnan(scores).any():
        raise OptionError("some scores are NaN: a metric of ranks needs numbers")
    return scores, labels
