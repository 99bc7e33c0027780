"""The same Gaussians from few pictures: what finer levels know from coarser ones stays in the space of the pictures.

With X_k the n centred vectors of level k at a position (c x n, over root n - 1), and M = I at the coarsest:

    L_k = chol(X_k M X_k' + eps I)     of the level, given all coarser ones
    Z_k = L_k^-1 X_k M                 c x n
    M  <- M - Z_k' Z_k                 n x n, once a position for all finer ones in its cell
    z_k = L_k^-1 (delta_k - X_k g)     g = the sum of Z_j' z_j over the coarser levels j
    d^2 = |z_0|^2 + |z_1|^2 + ...

No covariance of a fine level with a coarse one is formed or kept: n numbers a channel stand for it. Where the coarsest
level has more channels than there are pictures, it is factored by Woodbury's identity, with an n x n factor:

    L = chol(X_0' X_0 + eps I)    F = L^-1 X_0'    |z_0|^2 = (|delta_0|^2 - |F delta_0|^2) / eps    M = eps L^-T L^-1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ModelError
from .gaussian import BLOCK, Grid, inverse_factor, nested, on_grid, over_cells, precision, stacked

EXPECTED_TESTS = 100  # images a detector is assumed to score, when costs are compared


@dataclass(frozen=True)
class LowRankGaussians:
    """Coarse to fine, positions in nested order: `mean[k]` (positions, c) and `inverse[k]` L_k^-1 (positions, c, c), or
    F (positions, n, c) at the coarsest; `given[k]` Z_k, or L^-1, (positions, rows, n), of all but the finest, and
    `seen[k]` X_k+1 (positions, c, n), of all but the coarsest.
    """

    grids: tuple[Grid, ...]
    mean: tuple[Tensor, ...]
    inverse: tuple[Tensor, ...]
    given: tuple[Tensor, ...]
    seen: tuple[Tensor, ...]
    eps: float

    @classmethod
    def fit(cls, levels: Sequence[Tensor], eps: float = 0.01) -> LowRankGaussians:
        """The Gaussians of all n training images at once: levels [(n, c, h, w)], coarse to fine."""
        n = len(levels[0])
        if n < 2:
            raise ModelError(f"a covariance needs at least 2 good images, not {n}: add some to train/good")
        grids = tuple((level.shape[-2], level.shape[-1]) for level in levels)
        vectors = nested(levels)
        mean = tuple(v.mean(-1) for v in vectors)
        for v, m in zip(vectors, mean, strict=True):
            v.sub_(m[..., None]).mul_((n - 1) ** -0.5)
        cells = [v.unflatten(0, (len(vectors[0]), -1)) for v in vectors]  # of the coarsest grid
        whole: list[Tensor] = []
        for start in range(0, len(vectors[0]), BLOCK):
            found = _conditioned([v[start : start + BLOCK].flatten(0, 1) for v in cells], eps)
            if not whole:
                counts = [len(v) for v in (*vectors, *vectors[:-1])]
                whole = [one.new_empty(count, *one.shape[1:]) for count, one in zip(counts, found, strict=True)]
            for place, one in zip(whole, found, strict=True):
                first = start * len(place) // len(vectors[0])
                place[first : first + len(one)] = one
        inverse, given = whole[: len(mean)], whole[len(mean) :]
        return cls(grids, mean, tuple(inverse), tuple(given), tuple(vectors[1:]), eps)

    def distances(self, levels: Sequence[Tensor]) -> Tensor:
        """Mahalanobis distance of each patch to its Gaussian: levels [(b, c, h, w)] -> (b, h, w) on the finest grid."""
        squares, known = [], None
        for k, vectors in enumerate(nested(levels)):
            delta = vectors.sub_(self.mean[k][..., None])
            if known is not None:
                delta -= torch.bmm(stacked(self.seen[k - 1], known), known).view_as(delta)
            z = torch.bmm(self.inverse[k], delta)
            found = z.square().sum(1)
            if z.shape[1] != delta.shape[1]:
                found = ((delta.square().sum(1) - found) / self.eps).clamp(min=0.0)
            squares.append(found)
            if k < len(self.given):
                own = torch.bmm(self.given[k].mT, z)
                known = own if known is None else own + over_cells(known, own)
        return on_grid(squares, self.grids)

    @property
    def bytes(self) -> int:
        """The size of all numbers held."""
        every = [*self.mean, *self.inverse, *self.given, *self.seen]
        return sum(t.numel() * t.element_size() for t in every)


def _conditioned(vectors: Sequence[Tensor], eps: float) -> list[Tensor]:
    """All `inverse`, then all `given`, of some cells from their scaled vectors (positions, c, n) on each level."""
    inverse: list[Tensor] = []
    given: list[Tensor] = []
    left: Tensor | None = None  # M: how the pictures still vary when all coarser levels are known
    for k, x in enumerate(vectors):
        positions, c, n = x.shape
        weighted = x if left is None else torch.bmm(stacked(x, left), left).view_as(x)
        few = left is None and n < c
        own = torch.bmm(x.mT, x) if few else torch.bmm(weighted, x.mT)
        own.diagonal(dim1=-2, dim2=-1).add_(eps)
        lower = inverse_factor(own)
        inverse.append(torch.bmm(lower, x.mT) if few else lower)
        if k == len(vectors) - 1:
            break
        if few:
            given.append(lower)
            left = torch.bmm(lower.mT, lower) * eps
        else:
            given.append(torch.bmm(lower, weighted))
            before = torch.eye(n, dtype=x.dtype, device=x.device).expand(positions, n, n)
            before = before if left is None else over_cells(left, x)
            left = torch.baddbmm(before, given[k].mT, given[k], alpha=-1.0)
    return inverse + given


def is_cheaper(levels: Sequence[Tensor], n: int) -> bool:
    """Whether this form takes fewer multiplications than the shared factors, fit and tests together, keeps fewer
    numbers, and is as exact: pictures are few beside channels, or the sums would be too large for float64.
    """
    channels = [level.shape[1] for level in levels]
    places = [level.shape[-2] * level.shape[-1] for level in levels]
    thin = shared = thin_kept = shared_kept = 0.0
    before = 0
    for c, p in zip(channels, places, strict=True):
        rows = min(c, n) if not before else c
        given = rows * n if p != places[-1] else 0
        seen = c * n if before else 0
        once = rows * rows * (n + c) + rows * c * n + n * (seen + given)
        thin += p * (once + EXPECTED_TESTS * (rows * c + seen + given))
        shared += p * ((n + EXPECTED_TESTS) * c * (c + before) + c**3 + c * c * before + c * before * before)
        thin_kept += p * ((c * c / 2 if rows == c else rows * c) + seen + given)
        shared_kept += p * (c * c / 2 + c * before)
        before += c
    is_exact = 4 * n < sum(channels) or precision(levels) == torch.float32
    return thin < shared and thin_kept < shared_kept and is_exact
