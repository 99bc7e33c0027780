"""Exact AUROC, AP, F1-max, AUPRO and AUPIMO from one sort of the normal scores.

Every figure here depends on the anomalous scores s only through how many normal scores lie above (`above`) and at or
above (`reach`) each of them: no thresholds are chosen, so no monotone change of the scores can change a result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

Array = np.ndarray
EIGHT = np.ones((3, 3), dtype=bool)  # pixels that touch at a corner belong to one region, as in MVTec's evaluation


@dataclass(frozen=True)
class Ranks:
    """Anomalous scores in rising order, each with its count of normal scores above it and at or above it."""

    scores: Array
    order: Array  # where each sorted score stood before sorting
    above: Array
    reach: Array
    normal: int

    @classmethod
    def of(cls, normal: Array, anomalous: Array) -> Ranks:
        """Rank anomalous scores (m,) among normal ones (n,), in any order."""
        return cls.among(np.sort(normal), anomalous)

    @classmethod
    def among(cls, rising: Array, anomalous: Array) -> Ranks:
        """Like `of` for normal scores that are sorted already."""
        order = np.argsort(anomalous, kind="stable")
        scores = anomalous[order]
        above = rising.size - np.searchsorted(rising, scores, side="right")
        reach = rising.size - np.searchsorted(rising, scores, side="left")
        return cls(scores, order, above, reach, rising.size)

    @property
    def defined(self) -> bool:
        """Whether there are scores of both kinds."""
        return bool(self.normal and self.scores.size)

    def auroc(self) -> float:
        """The chance that an anomalous score exceeds a normal one; a tie counts half."""
        return float(1.0 - (self.above.mean() + self.reach.mean()) / (2 * self.normal))

    def average_precision(self) -> float:
        """Step-wise area under precision over recall (scikit-learn's average_precision_score)."""
        found, false, steps = self._at_each_threshold()
        return float((steps * found / (found + false)).sum() / self.scores.size)

    def best_f1(self) -> tuple[float, float]:
        """The largest F1 over all thresholds, and the score that reaches it (found: score >= threshold)."""
        found, false, _ = self._at_each_threshold()
        f1 = 2.0 * found / (found + false + self.scores.size)
        best = int(f1.argmax())
        return float(f1[best]), float(self._first()[1][best])

    def curve(self) -> tuple[Array, Array]:
        """(false, found): how many scores of either kind reach each anomalous score, from the highest score down."""
        found, false, _ = self._at_each_threshold()
        return false[::-1], found[::-1]

    def caught_before(self, limit: float) -> Array:
        """For each score, the share of false-alarm rates in [0, limit] at which it is found: (m,) in sorted order.

        The mean of this over a region is that region's part of the AUPRO; ties give a ramp instead of a step.
        """
        low, high = self.above / self.normal, self.reach / self.normal
        whole = limit - (low + high) / 2
        ramp = np.square(np.maximum(limit - low, 0.0)) / np.maximum(2 * (high - low), 1e-300)
        return np.where(high <= limit, whole, np.where(low < limit, ramp, 0.0)) / limit

    def caught_in_log(self, low: float, high: float) -> Array:
        """Like `caught_before` over [low, high] on a logarithmic axis, as AUPIMO has it."""
        rate = np.maximum(self.reach / self.normal, low)
        return np.clip(np.log(high / rate) / np.log(high / low), 0.0, 1.0)

    def _first(self) -> tuple[Array, Array]:
        starts = np.flatnonzero(np.r_[True, self.scores[1:] != self.scores[:-1]])
        return starts, self.scores[starts]

    def _at_each_threshold(self) -> tuple[Array, Array, Array]:
        starts, _ = self._first()
        found = self.scores.size - starts
        return found, self.reach[starts], np.diff(np.r_[starts, self.scores.size])


@dataclass(frozen=True)
class Regions:
    """The anomalous pixels of a test set: score, region and image of each; regions are numbered over all images."""

    scores: Array
    region: Array
    image: Array
    region_image: Array  # the image of each region

    @classmethod
    def of(cls, maps: Array, masks: Array) -> Regions:
        """Label the connected regions of masks (n, h, w) and collect the scores of maps (n, h, w) inside them."""
        scores, region, image, region_image, total = [], [], [], [], 0
        for number in np.flatnonzero(masks.any(axis=(1, 2))):
            labels, count = ndimage.label(masks[number], structure=EIGHT)
            inside = masks[number]
            scores.append(maps[number][inside])
            region.append(labels[inside] - 1 + total)
            image.append(np.full(scores[-1].size, number))
            region_image += [number] * count
            total += count
        if not scores:
            return cls(*(np.zeros(0, dtype=t) for t in (np.float32, np.intp, np.intp, np.intp)))
        return cls(np.concatenate(scores), np.concatenate(region), np.concatenate(image), np.array(region_image))

    def of_images(self, chosen: Array) -> Regions:
        """Only the pixels and regions of the images where `chosen` (n,) is true."""
        keep = chosen[self.image]
        kept = chosen[self.region_image]
        number = np.cumsum(kept) - 1
        return Regions(self.scores[keep], number[self.region[keep]], self.image[keep], self.region_image[kept])

    def mean_by_region(self, values: Array) -> Array:
        """Mean of a value a pixel over each region: (regions,)."""
        return np.bincount(self.region, values) / np.bincount(self.region)

    def mean_by_image(self, values: Array) -> tuple[Array, Array]:
        """(numbers of the images that have regions, mean of a value a pixel over each)."""
        numbers, inverse = np.unique(self.image, return_inverse=True)
        return numbers, np.bincount(inverse, values) / np.bincount(inverse)


def rank_pixels(maps: Array, masks: Array) -> tuple[Array, Regions]:
    """(all normal pixels' scores in rising order, the anomalous ones by region) of maps and masks (n, h, w)."""
    normal = maps[~masks]
    normal.sort()
    return normal, Regions.of(maps, masks)


def auroc(scores: Array, labels: Array) -> float:
    """Area under the ROC curve of scores (n,) for labels (n,), 1 or True for anomalous."""
    return _ranks(scores, labels).auroc()


def average_precision(scores: Array, labels: Array) -> float:
    """Step-wise average precision of scores (n,) for labels (n,)."""
    return _ranks(scores, labels).average_precision()


def best_f1(scores: Array, labels: Array) -> tuple[float, float]:
    """(largest F1, its threshold) of scores (n,) for labels (n,)."""
    return _ranks(scores, labels).best_f1()


def roc_curve(scores: Array, labels: Array) -> tuple[Array, Array]:
    """(rate of false alarms, rate found) from (0, 0) to (1, 1), a point for each distinct anomalous score."""
    ranks = _ranks(scores, labels)
    false, found = ranks.curve()
    return np.r_[0.0, false / ranks.normal, 1.0], np.r_[0.0, found / ranks.scores.size, 1.0]


def precision_recall(scores: Array, labels: Array) -> tuple[Array, Array]:
    """(recall, precision), a point for each distinct anomalous score, recall rising."""
    ranks = _ranks(scores, labels)
    false, found = ranks.curve()
    return found / ranks.scores.size, found / (found + false)


def aupro(maps: Array, masks: Array, limit: float = 0.3) -> float:
    """Mean over regions of the share of each that is found, averaged over false-alarm rates up to `limit`."""
    return float(region_overlap(maps, masks, limit).mean())


def region_overlap(maps: Array, masks: Array, limit: float = 0.3) -> Array:
    """The AUPRO of every region by itself: (regions,), numbered image after image."""
    normal, regions = rank_pixels(maps, masks)
    return overlap(Ranks.among(normal, regions.scores), regions, limit)


def overlap(ranks: Ranks, regions: Regions, limit: float) -> Array:
    """`region_overlap` from ranks that are there already."""
    return regions.mean_by_region(_unsorted(ranks, ranks.caught_before(limit)))


def aupimo(maps: Array, masks: Array, good: Array, low: float = 1e-5, high: float = 1e-4) -> Array:
    """AUPIMO of each image (n,): recall of its anomalous pixels over false-alarm rates from `low` to `high`, on a log
    axis, where the rate is measured on the images where `good` (n,) is true; nan for images without anomaly.

    All nan where the good pixels are too few to tell a rate of `low` (fewer than 1 / low).
    """
    found = np.full(len(maps), np.nan)
    normal = np.sort(maps[good], axis=None)
    regions = Regions.of(maps, masks)
    if normal.size * low < 1.0 or not regions.scores.size:
        return found
    ranks = Ranks.among(normal, regions.scores)
    numbers, means = regions.mean_by_image(_unsorted(ranks, ranks.caught_in_log(low, high)))
    found[numbers] = means
    return found


def _unsorted(ranks: Ranks, values: Array) -> Array:
    out = np.empty_like(values)
    out[ranks.order] = values
    return out


def _ranks(scores: Array, labels: Array) -> Ranks:
    labels = np.asarray(labels).astype(bool)
    return Ranks.of(np.asarray(scores)[~labels], np.asarray(scores)[labels])
