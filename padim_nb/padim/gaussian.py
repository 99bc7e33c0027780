"""One Gaussian for every patch, exact and small: covariances are summed and factored where their channels live.

Nearest up-sampling makes a coarse channel constant over a cell of fine positions. With the channels in the order
coarse to fine, the Cholesky factor of a patch's covariance shares its coarse block with all patches of the cell:

    level 0 (coarsest)   L00 = chol(S00)                       z0 = L00^-1 delta0
    level 1              A10 = S10 L00^-T                      z1 = L11^-1 (delta1 - A10 z0)
                         L11 = chol(S11 - A10 A10^T)           ...
    d^2 = |z0|^2 + |z1|^2 + ...                                a sum of squares: never negative

Each block is computed once per position of its own level. One level is the ordinary dense Cholesky.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..errors import ModelError, OptionError

Grid = tuple[int, int]
# Sums are kept in float64 while they take at most this many bytes. In float32 a covariance is known to one part in
# 10^7 of its largest variance: not always enough where the smallest is eps.
DOUBLE_UP_TO = 1 << 30
BLOCK = 7  # coarse cells factored at a time: what lies between stays small and in the cache


@dataclass
class Moments:
    """Count, mean and scatter of patch vectors, summed batch by batch; memory does not grow with the count.

    `mean[k]` is (positions, c); `scatter[k][j]` (positions of k, c of k, c of j) pairs level k with a coarser level
    j or itself. Positions are in nested order: those of one coarse cell stand together (see `nested`).
    """

    grids: tuple[Grid, ...]
    count: int
    mean: list[Tensor]
    scatter: list[list[Tensor]]

    @classmethod
    def of(cls, levels: Sequence[Tensor]) -> Moments:
        """Moments of one batch of levels [(b, c, h, w)], coarse to fine."""
        grids = tuple((level.shape[-2], level.shape[-1]) for level in levels)
        dtype = precision(levels)
        vectors = [v.to(dtype) for v in nested(levels)]
        mean = [v.mean(-1) for v in vectors]
        centred = [v - m[..., None] for v, m in zip(vectors, mean, strict=True)]
        scatter = [[_pair(centred[k], centred[j]) for j in range(k + 1)] for k in range(len(levels))]
        return cls(grids, levels[0].shape[0], mean, scatter)

    def add(self, levels: Sequence[Tensor]) -> Moments:
        """Add a batch in place (Chan's update): the same moments as of all vectors at once."""
        return self._change(levels, 1)

    def without(self, levels: Sequence[Tensor]) -> Moments:
        """The moments of all other images; those of `levels` are among the ones summed up here."""
        return self.copy()._change(levels, -1)

    def merge(self, other: Moments) -> Moments:
        """Add another set of moments in place, such as that of another shard or machine."""
        if other.grids != self.grids or [m.shape for m in other.mean] != [m.shape for m in self.mean]:
            raise OptionError("only moments of the same backbone, dimensions and image size can be merged")
        weight = (other.count * self.count / (other.count + self.count)) ** 0.5
        centred = [((b - a) * weight)[..., None] for a, b in zip(self.mean, other.mean, strict=True)]
        for mine, theirs in zip(self.scatter, other.scatter, strict=True):
            for a, b in zip(mine, theirs, strict=True):
                a += b
        self._absorb(centred, other.mean, other.count)
        return self

    def copy(self) -> Moments:
        """An independent copy."""
        return Moments(
            self.grids, self.count, [m.clone() for m in self.mean], [[s.clone() for s in row] for row in self.scatter]
        )

    def _change(self, levels: Sequence[Tensor], sign: int) -> Moments:
        """Add a batch, or take it out again."""
        if tuple((level.shape[-2], level.shape[-1]) for level in levels) != self.grids:
            raise OptionError(f"these feature maps do not have the grids {self.grids} the model was fitted with")
        vectors, b = [v.to(self.mean[0].dtype) for v in nested(levels)], sign * levels[0].shape[0]
        mean = [v.mean(-1) for v in vectors]
        # sqrt(b n / (b + n)) times the shift of the mean is one more centred vector: no second pass over the scatter
        weight = abs(b * self.count / (b + self.count)) ** 0.5
        centred = [
            torch.cat([v - m[..., None], (m - old)[..., None] * weight], dim=-1)
            for v, m, old in zip(vectors, mean, self.mean, strict=True)
        ]
        self._absorb(centred, mean, b)
        return self

    def _absorb(self, centred: list[Tensor], mean: list[Tensor], count: int) -> None:
        for k, row in enumerate(self.scatter):
            for j, total in enumerate(row):
                _pair(centred[k], centred[j], out=total, sign=1 if count > 0 else -1)
        share = count / (count + self.count)
        for old, new in zip(self.mean, mean, strict=True):
            old += (new - old) * share
        self.count += count


@dataclass(frozen=True)
class PatchGaussians:
    """Mean and inverse Cholesky factors of every patch: `inverse[k]` (positions, c, c) is L_kk^-1 and
    `link[k][j]` (positions of k, c of k, c of j) is L_kk^-1 A_kj.
    """

    grids: tuple[Grid, ...]
    mean: tuple[Tensor, ...]
    inverse: tuple[Tensor, ...]
    link: tuple[tuple[Tensor, ...], ...]

    @classmethod
    def fit(cls, moments: Moments, eps: float = 0.01) -> PatchGaussians:
        """The Gaussians N(mean, scatter / (n - 1) + eps I), one a patch."""
        if moments.count < 2:
            raise ModelError(f"a covariance needs at least 2 good images, not {moments.count}: add some to train/good")
        mean = tuple(m.float().clone() for m in moments.mean)
        inverse = tuple(torch.empty(row[-1].shape, device=row[-1].device) for row in moments.scatter)
        link = tuple(tuple(torch.empty(s.shape, device=s.device) for s in row[:-1]) for row in moments.scatter)
        coarse = len(mean[0])
        for start in range(0, coarse, BLOCK):
            # In nested order the positions of a coarse cell stand together on every level.
            rows = [slice(start * len(m) // coarse, min(start + BLOCK, coarse) * len(m) // coarse) for m in mean]
            some = [[s[rows[k]] for s in row] for k, row in enumerate(moments.scatter)]
            factors = _factored(some, 1.0 / (moments.count - 1), eps)
            for k, (own, links) in enumerate(factors):
                inverse[k][rows[k]] = own
                for j, one in enumerate(links):
                    link[k][j][rows[k]] = one
        return cls(moments.grids, mean, inverse, link)

    def distances(self, levels: Sequence[Tensor]) -> Tensor:
        """Mahalanobis distance of each patch to its Gaussian: levels [(b, c, h, w)] -> (b, h, w) on the finest grid."""
        z: list[Tensor] = []
        for k, vectors in enumerate(nested(levels)):
            own = torch.bmm(self.inverse[k], vectors - self.mean[k][..., None])
            for j, link in enumerate(self.link[k]):
                own -= torch.bmm(stacked(link, z[j]), z[j]).view_as(own)
            z.append(own)
        return on_grid([own.square().sum(1) for own in z], self.grids)

    @property
    def bytes(self) -> int:
        """The size of all numbers held."""
        every = [*self.mean, *self.inverse, *(link for row in self.link for link in row)]
        return sum(t.numel() * t.element_size() for t in every)


def _factored(scatter: list[list[Tensor]], scale: float, eps: float) -> list[tuple[Tensor, list[Tensor]]]:
    """For each level (L_kk^-1, [L_kk^-1 A_kj for each coarser j]) of some cells."""
    inverse: list[Tensor] = []
    couplings: list[list[Tensor]] = []
    for k, row in enumerate(scatter):
        own = row[k] * scale
        own.diagonal(dim1=-2, dim2=-1).add_(eps)
        couplings.append([])
        for j in range(k):
            a = stacked(row[j] * scale, inverse[j])
            for i in range(j):
                a.baddbmm_(stacked(couplings[k][i], couplings[j][i]), couplings[j][i].mT, alpha=-1.0)
            a = torch.bmm(a, inverse[j].mT).view_as(row[j])
            couplings[k].append(a)
            own.baddbmm_(a, a.mT, alpha=-1.0)
        inverse.append(inverse_factor(own))
    return [(inverse[k], [torch.bmm(inverse[k], a) for a in row]) for k, row in enumerate(couplings)]


def inverse_factor(covariance: Tensor) -> Tensor:
    """L^-1 for each covariance L L', (P, c, c) -> (P, c, c)."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if failed.any():
        raise ModelError("a covariance is not positive definite: features hold nan, or eps is too small")
    identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device).expand_as(factor)
    return torch.linalg.solve_triangular(factor, identity, upper=False)


def nesting(grids: Sequence[Grid], device: torch.device | str = "cpu") -> list[Tensor]:
    """For each level, its positions (row times width plus column) in nested order: coarse cell by coarse cell."""
    orders = [torch.arange(grids[0][0] * grids[0][1], device=device)]
    for (height, width), (h, w) in pairwise(grids):
        r = h // height
        if h != r * height or w != r * width:
            raise OptionError(f"a grid of {h}x{w} does not nest in one of {height}x{width}")
        row, column = orders[-1] // width, orders[-1] % width
        inner = torch.arange(r, device=device)
        rows = (row[:, None, None] * r + inner[:, None]).expand(-1, r, r)
        columns = (column[:, None, None] * r + inner).expand(-1, r, r)
        orders.append((rows * w + columns).reshape(-1))
    return orders


def nested(levels: Sequence[Tensor]) -> list[Tensor]:
    """Levels [(b, c, h, w)] as [(positions, c, b)] in nested order: products over images become batched products."""
    orders = nesting([(level.shape[-2], level.shape[-1]) for level in levels], levels[0].device)
    return [level.flatten(2).permute(2, 1, 0)[order].contiguous() for level, order in zip(levels, orders, strict=True)]


def over_cells(coarse: Tensor, fine: Tensor) -> Tensor:
    """What is known of coarse cells, for each of the positions of `fine`, both in nested order."""
    return coarse.repeat_interleave(len(fine) // len(coarse), dim=0)


def on_grid(squares: Sequence[Tensor], grids: Sequence[Grid]) -> Tensor:
    """Each level's share of the squared distance, (positions, b) -> distances (b, h, w) on the finest grid."""
    total = squares[0]
    for share in squares[1:]:
        total = share + over_cells(total, share)
    flat = torch.empty_like(total)
    flat[nesting(grids, total.device)[-1]] = total
    return flat.sqrt().T.reshape(-1, *grids[-1])


def precision(levels: Sequence[Tensor]) -> torch.dtype:
    """Of the sums of such levels: float64 where they are small enough for it."""
    channels, numbers = 0, 0
    for level in levels:
        channels += level.shape[1]
        numbers += level.shape[-2] * level.shape[-1] * level.shape[1] * channels
    return torch.float64 if numbers * 8 <= DOUBLE_UP_TO and levels[0].device.type != "mps" else torch.float32


def stacked(fine: Tensor, coarse: Tensor) -> Tensor:
    """(P fine, c, m) seen as (P coarse, all rows of the cell, m)."""
    return fine.view(coarse.shape[0], -1, fine.shape[-1])


def _pair(fine: Tensor, coarse: Tensor, out: Tensor | None = None, sign: int = 1) -> Tensor:
    """Sum over images of fine x coarse: (P, c, b) and (P', c', b) -> (P, c, c'), added to `out` where given."""
    rows = stacked(fine, coarse)
    if out is not None:
        return stacked(out, coarse).baddbmm_(rows, coarse.mT, alpha=sign)
    return torch.bmm(rows, coarse.mT).view(fine.shape[0], fine.shape[1], coarse.shape[1])
