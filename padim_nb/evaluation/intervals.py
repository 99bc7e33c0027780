"""How far a metric would move with other test images: the bootstrap over images.

Good and defective images are each drawn anew, with replacement, and a metric is computed for each such test set. A draw
is a weight for each image, how often it was drawn. The draws follow from the seed and the numbers of images alone, so
two detectors judged on the same images are compared draw by draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from .metrics import Array, Regions

RESAMPLES = 2000
LEVEL = 0.95
BINS = 500  # into which the scores of pixels are sorted
_MOST = 10**7  # numbers in memory at once

Statistic: TypeAlias = Callable[[Array, Array], Array]
"""(weights of good images (r, n), weights of defective ones (r, m)) -> a metric for each of r draws (r,)."""


def draws(
    statistics: Mapping[str, Statistic], good: int, defective: int, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Array]:
    """Each statistic on test sets drawn from `good` and `defective` images: (resamples,)."""
    rng = np.random.default_rng(seed)
    values: dict[str, list[Array]] = {name: [] for name in statistics}
    rows = max(1, _MOST // (good + defective + BINS))
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        weights = [rng.multinomial(number, np.full(number, 1 / number), count) for number in (good, defective)]
        for name, statistic in statistics.items():
            values[name].append(statistic(*weights))
    return {name: np.concatenate(parts) for name, parts in values.items()}


def interval(values: Array, level: float = LEVEL) -> tuple[float, float]:
    """(low, high) that hold this share of the draws; one without anomalous pixels has no metric and is left out."""
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_auroc(
    normal: Array, anomalous: Array, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval (low, high) of the image AUROC.

    Where all defective scores lie above all good ones, every draw has AUROC 1 and the interval is (1, 1): it is then
    too short, as more images could still show an overlap.

    Args:
        normal: scores of good images (n,).
        anomalous: scores of defective images (m,).
        level: the share of draws inside the interval.
    """
    statistics = {"auroc": image_auroc(normal, anomalous)}
    return interval(draws(statistics, normal.size, anomalous.size, resamples, seed)["auroc"], level)


def image_auroc(normal: Array, anomalous: Array) -> Statistic:
    """The image AUROC of scores (n,) of good and (m,) of defective images."""
    order = np.argsort(normal)
    below, at_or_below = (np.searchsorted(normal[order], anomalous, side) for side in ("left", "right"))

    def statistic(good: Array, defective: Array) -> Array:
        drawn = np.cumsum(np.pad(good[:, order], ((0, 0), (1, 0))), axis=1)
        wins = (drawn[:, below] + drawn[:, at_or_below]) / (2 * normal.size)  # a tie counts half
        return (wins * defective).sum(axis=1) / anomalous.size

    return statistic


def pixel_statistics(
    maps: Array,
    truth: Array,
    regions: Regions,
    labels: Array,
    limits: Mapping[str, float],
    roi: Array | np.bool_ = np.True_,
) -> dict[str, Statistic]:
    """The pixel AUROC, and a region overlap up to each of `limits`, of images that are drawn whole.

    Scores are sorted into bins with as many anomalous pixels each, inside which the curves are taken for straight.

    Args:
        maps, truth: (n, height, width).
        regions: the anomalous pixels, `Regions.of(maps, truth)`.
        labels: (n,), whether an image is defective.
        limits: name -> largest false-positive rate.
        roi: where normal pixels count, (height, width).
    """
    edges = np.unique(np.quantile(regions.scores, np.linspace(0, 1, BINS)))
    bins = edges.size + 1
    pairs = zip(maps, truth, strict=True)
    normal = np.stack([np.bincount(_bin(map_[~marked & roi], edges), minlength=bins) for map_, marked in pairs])
    cells = regions.image * bins + _bin(regions.scores, edges)
    shares = 1 / np.bincount(regions.region)[regions.region]  # of its region, for each pixel
    by_pixel, by_region = (
        np.bincount(cells, weights, minlength=normal.size).reshape(normal.shape) for weights in (None, shares)
    )

    def statistic(marked: Array, limit: float) -> Statistic:
        def area(good: Array, defective: Array) -> Array:
            weights = np.empty((len(good), len(labels)))
            weights[:, ~labels], weights[:, labels] = good, defective
            return _area(_falling(weights @ normal), _falling(weights @ marked), limit)

        return area

    overlaps = {name: statistic(by_region, limit) for name, limit in limits.items()}
    return {"pixel_auroc": statistic(by_pixel, 1.0), **overlaps}


def _bin(scores: Array, edges: Array) -> Array:
    return np.searchsorted(edges, scores, side="right")


def _falling(histograms: Array) -> Array:
    """The share of each histogram (r, bins) at or above every bin's lower end, from the highest: (r, bins + 1)."""
    total = np.cumsum(np.pad(histograms[:, ::-1], ((0, 0), (1, 0))), axis=1)
    with np.errstate(invalid="ignore"):  # none at all: NaN
        return total / total[:, -1:]


def _area(x: Array, y: Array, limit: float) -> Array:
    """The mean of the curves y(x) (r, points) over x from 0 to `limit`."""
    width = np.diff(x)
    inside = np.clip(limit - x[:, :-1], 0, width)
    share = inside / np.maximum(width, 1e-300)
    return (inside * (y[:, :-1] + np.diff(y) * share / 2)).sum(axis=1) / limit
