"""Solution of the project `threshold`: the conformal quantile."""

import numpy as np


def threshold(scores, alpha):
    """The k-th smallest score, k = ceil((n + 1) (1 - alpha)); rounded first, as 101 * 0.9 is a little above 90.9."""
    k = int(np.ceil(np.round((len(scores) + 1) * (1 - alpha), 9)))
    return np.sort(scores)[min(k, len(scores)) - 1]
