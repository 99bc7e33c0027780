"""One Gaussian a patch, exact and small: covariances are factored on the grid of each layer.

Nearest up-sampling makes a coarse channel constant over a cell of fine positions. With the channels in the order
coarse to fine, the Cholesky factor of a patch's covariance shares its coarse block with all patches of the cell:

    layer 0 (coarsest)   L00 = chol(S00)                       z0 = L00^-1 delta0
    layer 1              A10 = S10 L00^-T                      z1 = L11^-1 (delta1 - A10 z0)
                         L11 = chol(S11 - A10 A10^T)           ...
    d^2 = |z0|^2 + |z1|^2 + ...                                a sum of squares: never negative

Each block is computed once a position of its own layer. A single layer is the ordinary dense Cholesky.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ModelError
from ..util.model_file import packed, unpacked
from ..util.threads import in_threads
from .grids import Grid, blocks, nested, on_grid, stacked, summed
from .moments import Moments


@dataclass(frozen=True)
class PatchGaussians:
    """Means and inverse Cholesky factors in the multi-resolution form, layers coarse to fine, positions nested.

    >>> features = [torch.rand(6, 3, 2, 2), torch.rand(6, 2, 4, 4)]  # layers, coarse to fine
    >>> PatchGaussians.fit(Moments.from_features(features), eps=0.01).distances(features).shape
    torch.Size([6, 4, 4])

    `mean[k]` is (positions, c), `inverse[k]` (positions, c, c) is L_kk^-1 and `link[k][j]` (positions of k, c of k,
    c of j) is L_kk^-1 A_kj.
    """

    grids: tuple[Grid, ...]
    mean: list[Tensor]
    inverse: list[Tensor]
    link: list[list[Tensor]]

    @classmethod
    def fit(cls, moments: Moments, eps: float = 0.01, dtype: torch.dtype = torch.float32) -> PatchGaussians:
        """The Gaussians N(mean, scatter / (n - 1) + eps I) of the patches that were summed up in `moments`.

        They are computed in the precision of the moments, or in float64, and kept as `dtype`.
        """
        expect_enough(moments.count)
        work = torch.promote_types(moments.mean[0].dtype, dtype)
        mean = [m.to(dtype, copy=True) for m in moments.mean]
        link = [[torch.empty(sums.shape, dtype=dtype, device=sums.device) for sums in row] for row in moments.scatter]
        inverse = [row.pop() for row in link]

        def factor(rows: list[slice]) -> None:
            lower: list[Tensor] = []  # L_kk^-1
            coupling: list[list[Tensor]] = []  # A_kj
            for k, own in enumerate(rows):
                *mixed, covariance = (sums[own].to(work) / (moments.count - 1) for sums in moments.scatter[k])
                coupling.append([])
                for j, a in enumerate(mixed):
                    a = stacked(a, lower[j])
                    for i in range(j):
                        a.baddbmm_(stacked(coupling[k][i], coupling[j][i]), coupling[j][i].mT, alpha=-1.0)
                    coupling[k].append(torch.bmm(a, lower[j].mT).view_as(mixed[j]))
                    covariance.baddbmm_(coupling[k][j], coupling[k][j].mT, alpha=-1.0)
                lower.append(inverse_factor(covariance, eps))
                inverse[k][own] = lower[k].to(dtype)
                for block, a in zip(link[k], coupling[k], strict=True):
                    block[own] = torch.bmm(lower[k], a).to(dtype)

        in_threads(factor, blocks(moments.grids, mean[0].device), mean[0].device)
        return cls(moments.grids, mean, inverse, link)

    def whitened(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The whitened deviations z of every patch, the squares of which sum up to the squared distance.

        Args:
            features: one tensor a layer, coarse to fine, each (n, channels, height, width).

        Returns:
            One tensor a layer, (positions, channels, n) in nested order.
        """
        z: list[Tensor] = []
        for k, vectors in enumerate(nested(features)):
            own = torch.bmm(self.inverse[k], vectors.to(self.mean[k]) - self.mean[k][..., None])
            for j, link in enumerate(self.link[k]):
                own -= torch.bmm(stacked(link, z[j]), z[j]).view_as(own)
            z.append(own)
        return z

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
        return sum(t.nbytes for t in (*self.mean, *self.inverse, *(block for row in self.link for block in row)))

    def tensors(self) -> dict[str, Tensor]:
        """All numbers by name, as a model file holds them; triangles are packed."""
        links = {f"link.{k}.{j}": block for k, row in enumerate(self.link) for j, block in enumerate(row)}
        return triangles(self.mean, self.inverse) | links

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], grids: tuple[Grid, ...]) -> PatchGaussians:
        """Read `tensors` back; KeyError or ValueError where a tensor is missing or of another shape."""
        mean, inverse = read_triangles(tensors, grids)
        link = [
            [expect(tensors, f"link.{k}.{j}", *fine.shape, coarse.shape[1]) for j, coarse in enumerate(mean[:k])]
            for k, fine in enumerate(mean)
        ]
        return cls(grids, mean, inverse, link)


def expect_enough(images: int) -> None:
    """ModelError where there are too few images for a covariance."""
    if images < 2:
        raise ModelError(f"a covariance needs at least 2 good images, not {images}: add some to train/good")


def inverse_factor(covariance: Tensor, eps: float) -> Tensor:
    """L^-1 with L L' = covariance + eps I, (positions, c, c) -> (positions, c, c); `covariance` is overwritten."""
    covariance.diagonal(dim1=-2, dim2=-1).add_(eps)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if failed.any():
        raise ModelError("a covariance is not positive definite: features hold nan, or eps is too small")
    identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device).expand_as(factor)
    return torch.linalg.solve_triangular(factor, identity, upper=False)


def triangles(mean: Sequence[Tensor], inverse: Sequence[Tensor]) -> dict[str, Tensor]:
    """Means and packed inverse factors of all layers, by name."""
    return {f"mean.{k}": m for k, m in enumerate(mean)} | {f"inverse.{k}": packed(i) for k, i in enumerate(inverse)}


def read_triangles(tensors: Mapping[str, Tensor], grids: Sequence[Grid]) -> tuple[list[Tensor], list[Tensor]]:
    """The means (positions, c) and inverse factors (positions, c, c) of each layer, for a model on these grids."""
    mean, inverse = [], []
    for k, (height, width) in enumerate(grids):
        c = tensors[f"mean.{k}"].shape[-1]
        mean.append(expect(tensors, f"mean.{k}", height * width, c))
        inverse.append(unpacked(expect(tensors, f"inverse.{k}", height * width, c * (c + 1) // 2), c))
    return mean, inverse


def expect(tensors: Mapping[str, Tensor], name: str, *shape: int) -> Tensor:
    """The tensor of this name; KeyError where there is none, ValueError where it is not float of this shape."""
    tensor = tensors[name]
    if tuple(tensor.shape) != shape or not tensor.is_floating_point():
        raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)} where it should be float {shape}")
    return tensor
