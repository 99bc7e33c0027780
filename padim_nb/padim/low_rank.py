"""The low-rank (Woodbury) form of the same Gaussians, for fewer images n than dimensions d.

With X_k the n centered vectors of layer k at a position (c x n, over the root of n - 1), a patch is a good one where
delta_k = X_k t + noise of variance eps for some t of n normal numbers. Layer by layer, coarse to fine, g is the mean
of t and M its covariance given the layers before (g = 0 and M = I at first):

    L_k = chol(X_k M X_k' + eps I)     z_k = L_k^-1 (delta_k - X_k g)     d^2 = |z_0|^2 + |z_1|^2 + ...
    Z_k = L_k^-1 X_k M                 g <- g + Z_k' z_k                  M <- M - Z_k' Z_k

g and M are needed once a position for all finer ones in its cell, and no covariance between layers is formed.

Fitting subtracts nearly equal numbers where features are large beside eps: it is done in float64. Scoring does not, and
is done in float32: the distances are within 1e-4 of the largest one for features of size 0.01 to 1000.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..util.threads import in_threads
from .gaussian import expect, expect_enough, inverse_factor, read_triangles, triangles
from .grids import Grid, blocks, grids_of, nested, on_grid, over_cells, stacked, summed
from .moments import precision


@dataclass(frozen=True)
class LowRankGaussians:
    """Gaussians of few images, layers coarse to fine, positions in nested order.

    >>> features = [torch.rand(3, 30, 2, 2), torch.rand(3, 20, 4, 4)]  # layers, coarse to fine
    >>> LowRankGaussians.fit(features, eps=0.01).distances(features).shape
    torch.Size([3, 4, 4])

    `mean[k]` is (positions, c), `inverse[k]` L_k^-1 (positions, c, c), `gain[k]` Z_k (positions, c, n) of all but the
    finest layer and `vectors[k]` X_k+1 (positions, c, n) of all but the coarsest.
    """

    grids: tuple[Grid, ...]
    mean: list[Tensor]
    inverse: list[Tensor]
    gain: list[Tensor]
    vectors: list[Tensor]

    @classmethod
    def fit(cls, features: Sequence[Tensor], eps: float = 0.01, dtype: torch.dtype = torch.float32) -> LowRankGaussians:
        """The Gaussians of all training images at once: features [(n, channels, height, width)], coarse to fine.

        They are computed in float64 and kept as `dtype`.
        """
        n, grids, device = len(features[0]), grids_of(features), features[0].device
        expect_enough(n)
        shapes = [(height * width, layer.shape[1]) for (height, width), layer in zip(grids, features, strict=True)]
        mean, inverse = (
            [torch.empty(*s, dtype=dtype, device=device) for s in sides]
            for sides in (shapes, [(p, c, c) for p, c in shapes])
        )
        gain, vectors = (
            [torch.empty(p, c, n, dtype=dtype, device=device) for p, c in part] for part in (shapes[:-1], shapes[1:])
        )

        def condition(rows: list[slice]) -> None:
            own = [x.double() for x in nested(features, rows)]
            m = torch.eye(n).to(own[0]).expand(len(own[0]), n, n)
            for k, (place, x) in enumerate(zip(rows, own, strict=True)):
                center = x.mean(-1)
                x = (x - center[..., None]) * (n - 1) ** -0.5
                xm = torch.bmm(stacked(x, m), m).view_as(x)
                lower = inverse_factor(torch.bmm(xm, x.mT), eps)
                mean[k][place], inverse[k][place] = center.to(dtype), lower.to(dtype)
                if k:
                    vectors[k - 1][place] = x.to(dtype)
                if k < len(gain):
                    z = torch.bmm(lower, xm)
                    gain[k][place] = z.to(dtype)
                    m = torch.baddbmm(over_cells(m, x), z.mT, z, alpha=-1.0)

        in_threads(condition, blocks(grids, device), device)
        return cls(grids, mean, inverse, gain, vectors)

    def whitened(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The whitened deviations z of every patch, the squares of which sum up to the squared distance.

        Args:
            features: one tensor a layer, coarse to fine, each (n, channels, height, width).

        Returns:
            One tensor a layer, (positions, channels, n) in nested order.
        """
        whitened: list[Tensor] = []
        g: Tensor | None = None
        for k, x in enumerate(nested(features)):
            delta = x.to(self.mean[k]) - self.mean[k][..., None]
            if g is not None:
                delta -= torch.bmm(stacked(self.vectors[k - 1], g), g).view_as(delta)
            z = torch.bmm(self.inverse[k], delta)
            whitened.append(z)
            if k < len(self.gain):
                step = torch.bmm(self.gain[k].mT, z)
                g = step if g is None else step + over_cells(g, step)
        return whitened

    def distances(self, features: Sequence[Tensor]) -> Tensor:
        """Mahalanobis distance of every patch to its Gaussian.

        Args:
            features: one tensor a layer, coarse to fine, each (n, channels, height, width).

        Returns:
            Distances (n, height, width) on the finest grid.
        """
        return on_grid(summed(z.square().sum(1) for z in self.whitened(features)), self.grids)

    @property
    def bytes(self) -> int:
        """The size of all numbers in memory."""
        return sum(t.nbytes for t in (*self.mean, *self.inverse, *self.gain, *self.vectors))

    def tensors(self) -> dict[str, Tensor]:
        """All numbers by name, as a model file holds them; triangles are packed."""
        named = triangles(self.mean, self.inverse) | {f"gain.{k}": gain for k, gain in enumerate(self.gain)}
        return named | {f"vectors.{k + 1}": x for k, x in enumerate(self.vectors)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], grids: tuple[Grid, ...]) -> LowRankGaussians:
        """Read `tensors` back; KeyError or ValueError where a tensor is missing or of another shape."""
        mean, inverse = read_triangles(tensors, grids)
        last = len(grids) - 1
        n = tensors["gain.0"].shape[-1] if last else 0
        gain = [expect(tensors, f"gain.{k}", *mean[k].shape, n) for k in range(last)]
        vectors = [expect(tensors, f"vectors.{k}", *mean[k].shape, n) for k in range(1, last + 1)]
        return cls(grids, mean, inverse, gain, vectors)


def is_cheaper(features: Sequence[Tensor], n: int) -> bool:
    """Whether this form is the smaller one for n images, and n < d / 4 or running moments would be float32."""
    own = multi_resolution = before = 0
    for layer in features:
        c, p = layer.shape[1], layer.shape[-2] * layer.shape[-1]
        multi_resolution += p * c * (c + 2 * before)
        own += p * c * (c + 2 * n * ((before > 0) + (layer is not features[-1])))
        before += c
    is_exact = 4 * n < before or precision(features) == torch.float32
    return own < multi_resolution and is_exact
