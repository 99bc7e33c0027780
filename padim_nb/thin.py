"""The same Gaussians from few images: a factor of n rows a patch instead of d, by Woodbury's identity.

With Z the n centred vectors of a patch (n x d) and covariance Z'Z / (n - 1) + eps I,

    L = chol(Z Z' + eps (n - 1) I)      n x n
    W = L^-1 Z                          n x d
    d^2(delta) = (|delta|^2 - |W delta|^2) / eps
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .embedding import joined
from .errors import ModelError

BLOCK = 256  # positions factored at a time: bounds the memory beside the result
EXPECTED_TESTS = 100  # images a detector is assumed to score, when costs are compared


@dataclass(frozen=True)
class ThinGaussians:
    """`mean` (positions, d) and `factor` W (positions, n, d); positions row by row on the finest grid."""

    grids: tuple[tuple[int, int], ...]
    mean: Tensor
    factor: Tensor
    eps: float

    @classmethod
    def fit(cls, levels: Sequence[Tensor], eps: float = 0.01) -> ThinGaussians:
        """The Gaussians of all n training images at once: levels [(n, c, h, w)], coarse to fine."""
        vectors = aligned(levels)
        n = vectors.shape[1]
        if n < 2:
            raise ModelError(f"a covariance needs at least 2 good images, not {n}: add some to train/good")
        mean, factors = vectors.mean(1), torch.empty_like(vectors)
        ridge = eps * (n - 1) * torch.eye(n, dtype=vectors.dtype, device=vectors.device)
        for start in range(0, len(vectors), BLOCK):
            some = slice(start, start + BLOCK)
            z = vectors[some] - mean[some, None]
            lower, failed = torch.linalg.cholesky_ex(torch.bmm(z, z.mT) + ridge)
            if failed.any():
                raise ModelError("a covariance is not positive definite: features hold nan, or eps is too small")
            factors[some] = torch.linalg.solve_triangular(lower, z, upper=False)
        grids = tuple((level.shape[-2], level.shape[-1]) for level in levels)
        return cls(grids, mean, factors, eps)

    def distances(self, levels: Sequence[Tensor]) -> Tensor:
        """Mahalanobis distance of each patch to its Gaussian: levels [(b, c, h, w)] -> (b, h, w) on the finest grid."""
        delta = (aligned(levels) - self.mean[:, None]).transpose(1, 2)
        explained = torch.bmm(self.factor, delta).square().sum(1)
        squares = (delta.square().sum(1) - explained) / self.eps
        return squares.clamp(min=0.0).sqrt().T.reshape(-1, *self.grids[-1])

    @property
    def bytes(self) -> int:
        """The size of all numbers held."""
        return (self.mean.numel() + self.factor.numel()) * self.factor.element_size()


def aligned(levels: Sequence[Tensor]) -> Tensor:
    """Levels [(b, c, h, w)] up-sampled to the finest grid and joined: (positions, b, d)."""
    return joined(levels).flatten(2).permute(2, 0, 1).contiguous()


def is_cheaper(levels: Sequence[Tensor], n: int) -> bool:
    """Whether this form takes fewer multiplications than the shared Cholesky factors, fit and tests together."""
    channels = [level.shape[1] for level in levels]
    places = [level.shape[-2] * level.shape[-1] for level in levels]
    d, finest = sum(channels), places[-1]
    thin = finest * (2 * n * n * d + n**3 / 3 + 2 * EXPECTED_TESTS * n * d)
    shared, before = 0.0, 0
    for c, p in zip(channels, places, strict=True):
        shared += p * ((n + EXPECTED_TESTS) * c * (c + before) + c**3 + c * c * before + c * before * before)
        before += c
    return thin < shared
