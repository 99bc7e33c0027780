"""The same Gaussians from few images: an image counts as one direction in which patches vary.

With X_k the n centered vectors of layer k at a position (c x n, over the root of n - 1), a patch is a good one where
delta_k = X_k t + noise of variance eps for some t of n normal numbers. Layer by layer, coarse to fine, g is the mean
of t and M its covariance given the layers before (g = 0 and M = I at first):

    L_k = chol(X_k M X_k' + eps I)     z_k = L_k^-1 (delta_k - X_k g)     d^2 = |z_0|^2 + |z_1|^2 + ...
    Z_k = L_k^-1 X_k M                 g <- g + Z_k' z_k                  M <- M - Z_k' Z_k

g and M are needed once a position for all finer ones in its cell, and no covariance between layers is formed. Where the
coarsest layer has more channels than there are images, the same comes from an n x n matrix, as in ridge regression:

    K = X_0' X_0 + eps I     g = K^-1 X_0' delta_0     |z_0|^2 = |delta_0 - X_0 g|^2 / eps + |g|^2     M = eps K^-1

Fitting subtracts nearly equal numbers where features are large beside eps: it is done in float64. Scoring does not, and
is done in float32: the distances are within 1e-4 of the largest one for features of size 0.01 to 1000.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..util.model_file import packed, unpacked
from .gaussian import BLOCK, expect, expect_enough, inverse_factor, means
from .grids import Grid, grid_of, nested, on_grid, over_cells, stacked
from .moments import precision


@dataclass(frozen=True)
class LowRankGaussians:
    """Gaussians of few images, layers coarse to fine, positions in nested order.

    `mean[k]` is (positions, c), `inverse[k]` L_k^-1 (positions, c, c), `gain[k]` Z_k (positions, c, n) of all but the
    finest layer and `vectors[k]` X_k (positions, c, n) of all but the coarsest. Where the coarsest layer has more
    channels than n, `inverse[0]` is K^-1 X_0' (positions, n, c), `vectors[0]` is X_0 and `gain[0]` is empty; else
    `vectors[0]` is empty.
    """

    grids: tuple[Grid, ...]
    mean: tuple[Tensor, ...]
    inverse: tuple[Tensor, ...]
    gain: tuple[Tensor, ...]
    vectors: tuple[Tensor, ...]
    eps: float

    @classmethod
    def fit(cls, features: Sequence[Tensor], eps: float = 0.01) -> LowRankGaussians:
        """The Gaussians of all training images at once: features [(n, channels, height, width)], coarse to fine."""
        n = len(features[0])
        expect_enough(n)
        vectors, mean = nested(features), []
        for v in vectors:
            mean.append(v.mean(-1))
            v.sub_(mean[-1][..., None]).mul_((n - 1) ** -0.5)
        coarse, layers = len(vectors[0]), len(vectors)
        whole: list[Tensor] = []
        for start in range(0, coarse, BLOCK):
            rows = [slice(start * len(v) // coarse, min(start + BLOCK, coarse) * len(v) // coarse) for v in vectors]
            parts = _conditioned([_double(v[r]) for v, r in zip(vectors, rows, strict=True)], eps)
            if not whole:
                places = [*vectors, *vectors[:-1]]
                whole = [v.new_empty(len(v), *part.shape[1:]) for v, part in zip(places, parts, strict=True)]
            for target, r, part in zip(whole, rows + rows[:-1], parts, strict=True):
                target[r] = part.to(target)
        if vectors[0].shape[1] <= n:
            vectors[0] = vectors[0][:, :, :0]
        grids = tuple(map(grid_of, features))
        return cls(grids, tuple(mean), tuple(whole[:layers]), tuple(whole[layers:]), tuple(vectors), eps)

    def distances(self, features: Sequence[Tensor]) -> Tensor:
        """Mahalanobis distance of every patch to its Gaussian.

        Args:
            features: one tensor a layer, coarse to fine, each (n, channels, height, width).

        Returns:
            Distances (n, height, width) on the finest grid.
        """
        squares: list[Tensor] = []
        g: Tensor | None = None
        for k, x in enumerate(nested(features)):
            delta = x.sub_(self.mean[k][..., None])
            if g is None and self._wide:
                g = torch.bmm(self.inverse[0], delta)
                rest = torch.baddbmm(delta, self.vectors[0], g, alpha=-1.0)
                squares.append(rest.square().sum(1) / self.eps + g.square().sum(1))
                continue
            if g is not None:
                delta -= torch.bmm(stacked(self.vectors[k], g), g).view_as(delta)
            z = torch.bmm(self.inverse[k], delta)
            squares.append(z.square().sum(1))
            if k < len(self.gain):
                step = torch.bmm(self.gain[k].mT, z)
                g = step if g is None else step + over_cells(g, step)
        return on_grid(squares, self.grids)

    @property
    def bytes(self) -> int:
        """The size of all numbers in memory."""
        return sum(t.numel() * t.element_size() for t in (*self.mean, *self.inverse, *self.gain, *self.vectors))

    @property
    def _wide(self) -> bool:
        """Whether the coarsest layer has more channels than there are images."""
        return self.vectors[0].shape[-1] > 0

    def tensors(self) -> dict[str, Tensor]:
        """All numbers by name, as a model file holds them; triangles are packed."""
        named = {f"mean.{k}": mean for k, mean in enumerate(self.mean)}
        for k, inverse in enumerate(self.inverse):
            wide = self._wide and k == 0
            named |= {"ridge.0": inverse} if wide else {f"inverse.{k}": packed(inverse)}
        named |= {f"gain.{k}": gain for k, gain in enumerate(self.gain)}
        return named | {f"vectors.{k}": vectors for k, vectors in enumerate(self.vectors)}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], grids: tuple[Grid, ...], eps: float, device: str
    ) -> LowRankGaussians:
        """Read `tensors` back; KeyError or ValueError where a tensor is missing or of another shape."""
        mean = means(tensors, grids)
        if not tensors.keys() & {"vectors.0", "ridge.0"}:
            tensors = _of_version_0_2(tensors, mean, eps)
        n, wide = tensors[f"vectors.{len(grids) - 1}"].shape[-1], "ridge.0" in tensors
        inverse, gain, vectors = [], [], []
        for k, (p, c) in enumerate(m.shape for m in mean):
            is_ridge = wide and k == 0
            packed_size = c * (c + 1) // 2
            own = expect(tensors, "ridge.0", p, n, c) if is_ridge else expect(tensors, f"inverse.{k}", p, packed_size)
            inverse.append(own if is_ridge else unpacked(own, c))
            vectors.append(expect(tensors, f"vectors.{k}", p, c, n if wide or k else 0))
            if k < len(mean) - 1:
                gain.append(expect(tensors, f"gain.{k}", p, 0 if is_ridge else c, n))
        moved = [tuple(t.to(device) for t in parts) for parts in (mean, inverse, gain, vectors)]
        return cls(grids, moved[0], moved[1], moved[2], moved[3], eps)


def is_cheaper(features: Sequence[Tensor], n: int) -> bool:
    """Whether this form, for n images, takes less memory than the multi-resolution one, and so less time to score, with
    images few beside channels or sums that would be too large for float64.
    """
    own = multi_resolution = before = 0
    for layer in features:
        c, p = layer.shape[1], layer.shape[-2] * layer.shape[-1]
        multi_resolution += p * c * (c + 2 * before)
        if before == 0 and n < c:
            own += p * 2 * (2 * n * c)
        else:
            own += p * (c * c + 2 * n * c * (before > 0) + 2 * n * c * (layer is not features[-1]))
        before += c
    is_exact = 4 * n < before or precision(features) == torch.float32
    return own < multi_resolution and is_exact


def _conditioned(vectors: Sequence[Tensor], eps: float) -> list[Tensor]:
    """All `inverse`, then all `gain` of a block of cells from X_k (positions, c, n), coarse to fine, in float64."""
    inverse: list[Tensor] = []
    gain: list[Tensor] = []
    n, m = vectors[0].shape[-1], torch.eye(vectors[0].shape[-1], dtype=vectors[0].dtype, device=vectors[0].device)
    m = m.expand(len(vectors[0]), n, n)
    for k, x in enumerate(vectors):
        if k == 0 and x.shape[1] > n:
            lower = inverse_factor(_plus(torch.bmm(x.mT, x), eps))
            inverse.append(torch.bmm(torch.bmm(lower.mT, lower), x.mT))
            gain.append(x[:, :0])
            m = torch.bmm(lower.mT, lower) * eps
            continue
        xm = torch.bmm(stacked(x, m), m).view_as(x)
        inverse.append(inverse_factor(_plus(torch.bmm(xm, x.mT), eps)))
        gain.append(torch.bmm(inverse[k], xm))
        if k < len(vectors) - 1:
            m = torch.baddbmm(over_cells(m, x), gain[k].mT, gain[k], alpha=-1.0)
    return inverse + gain[: len(vectors) - 1]


def _plus(matrices: Tensor, eps: float) -> Tensor:
    matrices.diagonal(dim1=-2, dim2=-1).add_(eps)
    return matrices


def _double(x: Tensor) -> Tensor:
    """In float64, on the processor where the device has none (MPS)."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def _of_version_0_2(tensors: Mapping[str, Tensor], mean: Sequence[Tensor], eps: float) -> dict[str, Tensor]:
    """The tensors of a model file of version 0.2, which held F = L^-1 X_0' with LL' = K where the coarsest layer has
    more channels than there were images, `given` L^-1 there and Z_k elsewhere, and `seen.k` X_k+1.
    """
    named = {key.replace("given.", "gain."): t for key, t in tensors.items() if not key.startswith("seen.")}
    named |= {f"vectors.{k + 1}": tensors[f"seen.{k}"] for k in range(len(mean) - 1)}
    p, c = mean[0].shape
    f = tensors["inverse.0"].double()
    if f.dim() == 2:
        return named | {"vectors.0": mean[0].new_empty(p, c, 0)}
    if len(mean) > 1:
        lower = tensors["given.0"].double()
        x = torch.linalg.solve(lower, f).mT
        ridge = torch.bmm(lower.mT, f)
    else:  # nothing else depends on the basis of t: that of the singular vectors of F will do
        _, s, v = torch.linalg.svd(f, full_matrices=False)
        variance = eps * s.square() / (1.0 - s.square()).clamp(min=1e-12)
        x = (variance.sqrt()[..., None] * v).mT
        ridge = (variance.sqrt() / (variance + eps))[..., None] * v
    return named | {
        "ridge.0": ridge.float(),
        "vectors.0": x.float(),
        "gain.0": f.new_empty(p, 0, f.shape[1], dtype=torch.float32),
    }
