"""What to add to the variances, read off the training images: oracle approximating shrinkage.

The covariance S of n vectors of d numbers is most wrong in its smallest variances where n is not far above d. Chen,
Wiesel, Eldar and Hero (2010) draw it towards a multiple of I, (1 - r) S + r m I with m = trace(S) / d, by the share

    r = (trace(S^2) / d^2 + m^2) / ((n + 1) (trace(S^2) / d^2 - m^2 / d))

that is nearest to the true covariance on average. But for a factor this is S + eps I with eps = r m / (1 - r). All
patches get the median of theirs, as layers share what is computed of a coarse patch.
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
    if isinstance(statistics, Moments):
        n, d = statistics.count, sum(mean.shape[1] for mean in statistics.mean)
        expect_enough(n)
        trace, square = _of_moments(statistics)
    else:
        n, d = len(statistics[0]), sum(layer.shape[1] for layer in statistics)
        expect_enough(n)
        trace, square = _of_features(statistics)
    return added_variance(trace, square, n, d)


def added_variance(trace: Tensor, square: Tensor, n: int, d: int) -> float:
    """The median over all patches, given trace(S) and trace(S^2) of each, (patches,), of n vectors of d numbers."""
    m = trace / d
    share = (square / d**2 + m.square()) / ((n + 1) * (square / d**2 - m.square() / d)).clamp(min=1e-30)
    share = share.clamp(max=LARGEST_SHARE)
    return max(float((share * m / (1 - share)).median()), SMALLEST)


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
        products: Tensor | None = None
        for x in nested(features, rows):
            x = x - x.mean(-1, keepdim=True)
            own = torch.bmm(x.mT, x)
            products = own if products is None else own + over_cells(products, own)
        assert products is not None
        return products.diagonal(dim1=1, dim2=2).sum(1), products.square().sum((1, 2))

    parts = in_threads(of_rows, blocks(grids, features[0].device), features[0].device)
    trace, square = (torch.cat(column) for column in zip(*parts, strict=True))
    return trace / (n - 1), square / (n - 1) ** 2
