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
from .grids import Grid, nested, on_grid, stacked
from .moments import Moments

BLOCK = 7  # coarse cells factored at a time: intermediate results stay small and in the cache


@dataclass(frozen=True)
class PatchGaussians:
    """Means and inverse Cholesky factors in the multi-resolution form, layers coarse to fine, positions nested.

    `mean[k]` is (positions, c), `inverse[k]` (positions, c, c) is L_kk^-1 and `link[k][j]` (positions of k, c of k,
    c of j) is L_kk^-1 A_kj.
    """

    grids: tuple[Grid, ...]
    mean: tuple[Tensor, ...]
    inverse: tuple[Tensor, ...]
    link: tuple[tuple[Tensor, ...], ...]

    @classmethod
    def fit(cls, moments: Moments, eps: float = 0.01) -> PatchGaussians:
        """The Gaussians N(mean, scatter / (n - 1) + eps I) of the patches that were summed up in `moments`."""
        expect_enough(moments.count)
        mean = tuple(m.float().clone() for m in moments.mean)
        inverse = tuple(torch.empty(row[-1].shape, device=row[-1].device) for row in moments.scatter)
        link = tuple(tuple(torch.empty(s.shape, device=s.device) for s in row[:-1]) for row in moments.scatter)
        coarse = len(mean[0])
        for start in range(0, coarse, BLOCK):
            rows = [slice(start * len(m) // coarse, min(start + BLOCK, coarse) * len(m) // coarse) for m in mean]
            scatter = [[s[rows[k]] for s in row] for k, row in enumerate(moments.scatter)]
            factors = _factored(scatter, 1.0 / (moments.count - 1), eps)
            for k, (own, links) in enumerate(factors):
                inverse[k][rows[k]] = own.float()
                for target, block in zip(link[k], links, strict=True):
                    target[rows[k]] = block.float()
        return cls(moments.grids, mean, inverse, link)

    def distances(self, features: Sequence[Tensor]) -> Tensor:
        """Mahalanobis distance of every patch to its Gaussian.

        Args:
            features: one tensor a layer, coarse to fine, each (n, channels, height, width).

        Returns:
            Distances (n, height, width) on the finest grid.
        """
        z: list[Tensor] = []
        for k, vectors in enumerate(nested(features)):
            own = torch.bmm(self.inverse[k], vectors - self.mean[k][..., None])
            for j, link in enumerate(self.link[k]):
                own -= torch.bmm(stacked(link, z[j]), z[j]).view_as(own)
            z.append(own)
        return on_grid([own.square().sum(1) for own in z], self.grids)

    @property
    def bytes(self) -> int:
        """The size of all numbers in memory."""
        every = [*self.mean, *self.inverse, *(link for row in self.link for link in row)]
        return sum(t.numel() * t.element_size() for t in every)

    def tensors(self) -> dict[str, Tensor]:
        """All numbers by name, as a model file holds them; triangles are packed."""
        named = {f"mean.{k}": mean for k, mean in enumerate(self.mean)}
        named |= {f"inverse.{k}": packed(inverse) for k, inverse in enumerate(self.inverse)}
        return named | {f"link.{k}.{j}": link for k, row in enumerate(self.link) for j, link in enumerate(row)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], grids: tuple[Grid, ...], device: str) -> PatchGaussians:
        """Read `tensors` back; KeyError or ValueError where a tensor is missing or of another shape."""
        mean, layers = means(tensors, grids), range(len(grids))
        c = [m.shape[1] for m in mean]
        inverse = [expect(tensors, f"inverse.{k}", len(mean[k]), c[k] * (c[k] + 1) // 2) for k in layers]
        link = [[expect(tensors, f"link.{k}.{j}", len(mean[k]), c[k], c[j]) for j in range(k)] for k in layers]
        return cls(
            grids,
            tuple(m.to(device) for m in mean),
            tuple(unpacked(own, c[k]).to(device) for k, own in enumerate(inverse)),
            tuple(tuple(block.to(device) for block in row) for row in link),
        )


def expect_enough(images: int) -> None:
    """ModelError where there are too few images for a covariance."""
    if images < 2:
        raise ModelError(f"a covariance needs at least 2 good images, not {images}: add some to train/good")


def expect(tensors: Mapping[str, Tensor], name: str, *shape: int) -> Tensor:
    """The tensor of this name; KeyError where there is none, ValueError where it is not float of this shape."""
    tensor = tensors[name]
    if tuple(tensor.shape) != shape or not tensor.is_floating_point():
        raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)} where it should be float {shape}")
    return tensor


def means(tensors: Mapping[str, Tensor], grids: Sequence[Grid]) -> list[Tensor]:
    """The means (positions, c) of each layer, for a model on these grids."""
    return [
        expect(tensors, f"mean.{k}", height * width, tensors[f"mean.{k}"].shape[-1])
        for k, (height, width) in enumerate(grids)
    ]


def _factored(scatter: list[list[Tensor]], scale: float, eps: float) -> list[tuple[Tensor, list[Tensor]]]:
    """For each layer (L_kk^-1, [L_kk^-1 A_kj for each coarser j]) of a block of cells."""
    inverse: list[Tensor] = []
    coupling: list[list[Tensor]] = []
    for k, row in enumerate(scatter):
        own = row[k] * scale
        own.diagonal(dim1=-2, dim2=-1).add_(eps)
        coupling.append([])
        for j in range(k):
            a = stacked(row[j] * scale, inverse[j])
            for i in range(j):
                a.baddbmm_(stacked(coupling[k][i], coupling[j][i]), coupling[j][i].mT, alpha=-1.0)
            a = torch.bmm(a, inverse[j].mT).view_as(row[j])
            coupling[k].append(a)
            own.baddbmm_(a, a.mT, alpha=-1.0)
        inverse.append(inverse_factor(own))
    return [(inverse[k], [torch.bmm(inverse[k], a) for a in row]) for k, row in enumerate(coupling)]


def inverse_factor(covariance: Tensor) -> Tensor:
    """L^-1 of each covariance L L', (positions, c, c) -> (positions, c, c)."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if failed.any():
        raise ModelError("a covariance is not positive definite: features hold nan, or eps is too small")
    identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device).expand_as(factor)
    return torch.linalg.solve_triangular(factor, identity, upper=False)
