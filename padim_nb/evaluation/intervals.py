"""How far a metric would move with other test images: bootstrap intervals over images."""

from __future__ import annotations

import numpy as np

from .metrics import Array, Ranks

RESAMPLES = 2000


def bootstrap_auroc(
    normal: Array, anomalous: Array, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the image AUROC: good and defective images are each drawn anew, with replacement.

    Where all defective scores lie above all good ones, every draw has AUROC 1 and the interval is (1, 1): it is then
    too short, as more images could still show an overlap.

    Args:
        normal: scores of good images (n,).
        anomalous: scores of defective images (m,).
        level: the share of draws inside the interval.

    Returns:
        (low, high).
    """
    rng = np.random.default_rng(seed)
    ranks = Ranks.of(normal, anomalous)
    n, m = normal.size, anomalous.size
    below, at_or_below = n - ranks.at_or_above, n - ranks.above  # places among the good scores in rising order
    values = np.empty(resamples)
    for number in range(resamples):
        drawn = np.concatenate(([0], np.cumsum(np.bincount(rng.integers(0, n, n), minlength=n))))
        wins = (drawn[below] + drawn[at_or_below]) / (2 * n)
        values[number] = wins[rng.integers(0, m, m)].mean()
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
