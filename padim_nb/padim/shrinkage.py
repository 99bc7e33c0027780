"""What to add to the variances, read off the training images: oracle approximating shrinkage as in scikit-learn.

The covariance S of n vectors of d numbers is most wrong in its smallest variances where n is not far above d. It is
drawn towards a multiple of I, (1 - r) S + r m I with m = trace(S) / d, by the share

    r = min(1, (trace(S^2) / d^2 + m^2) / ((n + 1) (trace(S^2) / d^2 - m^2 / d)))

This is `sklearn.covariance.oas`. The estimator of Chen, Wiesel, Eldar and Hero (2010) has 1 - 2/d times the first term
of the numerator and n + 1 - 2/d in the denominator, which makes no difference for many dimensions. r does not depend on
the scale of S, but m does: S divides by n - 1 here, as the Gaussians do, and by n in scikit-learn.

But for a factor the result is S + eps I with eps = r m / (1 - r), where r is at most LARGEST_SHARE, as eps would be
infinite for 1. All patches get the median of theirs, as layers share what is computed of a coarse patch. The order of
the images does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..util.threads import in_threads
from .gaussian import expect_enough
from .grids import blocks, grids_of, nested, over_cells
from .moments import Moments

Eps = float | Literal["oas"]
SMALLEST = 0.01  # the paper's: what is constant in all training images needs some variance
LARGEST_SHARE = 0.99


def oas(statistics: Moments | Sequence[Tensor]) -> float:
    """The median over all patches of what is to be added to their variances.

    Args:
        statistics: moments, or features [(n, channels, height, width)], coarse to fine.
    """
    layers = statistics.mean if isinstance(statistics, Moments) else statistics
    n = statistics.count if isinstance(statistics, Moments) else len(statistics[0])
    expect_enough(n)
    trace, square = _of_moments(statistics) if isinstance(statistics, Moments) else _of_features(statistics)
    return added_variance(trace, square, n, sum(layer.shape[1] for layer in layers))


def added_variance(trace: Tensor, square: Tensor, n: int, d: int) -> float:
    """The median over all patches, given trace(S) and trace(S^2) of each, (patches,), of n vectors of d numbers."""
    r, m = share(trace, square, n, d).clamp(max=LARGEST_SHARE), trace / d
    return max(float((r * m / (1 - r)).median()), SMALLEST)


def share(trace: Tensor, square: Tensor, n: int, d: int) -> Tensor:
    """The share r in 0..1 by which covariances are drawn towards a multiple of I.

    Args:
        trace: trace(S) of each covariance S (d x d).
        square: trace(S^2) of each.
        n: number of vectors that each covariance was estimated from.
        d: their length.
    """
    if d == 1:  # a variance is already a multiple of I
        return torch.zeros_like(trace)
    mean_square, m_square = square / d**2, (trace / d).square()
    spread = (n + 1) * (mean_square - m_square / d)
    return ((mean_square + m_square) / spread.clamp(min=1e-30)).clamp(max=1.0)


def _of_moments(moments: Moments) -> tuple[Tensor, Tensor]:
    """trace(S) and trace(S^2) of each patch on the finest grid, in nested order."""
    trace = square = moments.mean[0].new_zeros(len(moments.mean[0]))
    for *mixed, own in moments.scatter:
        squares = sum((block.square().sum((1, 2)) for block in mixed), start=own.new_zeros(len(own)))
        trace = over_cells(trace, own) + own.diagonal(dim1=1, dim2=2).sum(1)
        square = over_cells(square, own) + own.square().sum((1, 2)) + 2 * squares
    return trace / (moments.count - 1), square / (moments.count - 1) ** 2


def _of_features(features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The same by the products of images, n x n a patch."""
    n, grids = len(features[0]), grids_of(features)

    def of_rows(rows: list[slice]) -> tuple[Tensor, Tensor]:
        centered = [x - x.mean(-1, keepdim=True) for x in nested(features, rows)]
        products, *finer = (torch.bmm(x.mT, x) for x in centered)
        for own in finer:
            products = own + over_cells(products, own)
        return products.diagonal(dim1=1, dim2=2).sum(1), products.square().sum((1, 2))

    parts = in_threads(of_rows, blocks(grids, features[0].device), features[0].device)
    trace, square = (torch.cat(column) for column in zip(*parts, strict=True))
    return trace / (n - 1), square / (n - 1) ** 2
