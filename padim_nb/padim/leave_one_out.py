"""Distances of good images to Gaussians that were fitted without them, in closed form.

At a patch let delta_i be the deviation of training vector i from the mean of all n, S the sum of delta delta' and
rho = (n - 1) eps. A group of g images has the hat matrix A, g x g, of entries delta_i' (S + rho I)^-1 delta_j. Without
the group the mean moves, S loses a matrix of rank g, and Woodbury's formula gives the squared distances of its images:

    B = I - 11' / n - A              (n - g - 1) diag(B^-1 - I - 11' / (n - g))

For a single image with a = A this is (n - 2) c^2 a / (1 - c a), c = n / (n - 1). rho stays the same, so the Gaussian
of the other n - g images, with covariance (their scatter + rho I) / (n - g - 1), has a slightly larger eps.

Full conformal prediction puts a new image among the n and holds each of the n + 1 out in turn. If the new image is
good, its score is as likely to be the largest of the n + 1 as any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelError
from ..util.threads import in_threads
from .grids import Grid, blocks, grids_of, nested, on_grid, summed
from .shrinkage import Eps, added_variance

MIN_OTHERS = 2  # images that a covariance needs


def by_group(groups: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The order in which images of a group follow one another, and the groups' sizes; images of group 0 are alone.

    >>> order, sizes = by_group(np.array([7, 0, 7, 0]))
    >>> order.tolist(), sizes
    ([0, 2, 1, 3], [2, 1, 1])
    """
    together, alone = np.flatnonzero(groups), np.flatnonzero(groups == 0)
    together = together[np.argsort(groups[together], kind="stable")]
    sizes = [len(list(run)) for _, run in groupby(groups[together])]
    return np.concatenate([together, alone]), sizes + [1] * len(alone)


def parts_of(groups: Sequence[int], most: int) -> Iterator[tuple[slice, list[int]]]:
    """Whole groups at a time, of at most so many images, or one larger group: their images, and the groups' sizes.

    >>> list(parts_of([2, 1, 4], most=3))
    [(slice(0, 3, None), [2, 1]), (slice(3, 7, None), [4])]
    """
    start, sizes = 0, list[int]()
    for size in groups:
        if sizes and sum(sizes) + size > most:
            yield slice(start, start + sum(sizes)), sizes
            start, sizes = start + sum(sizes), []
        sizes.append(size)
    if sizes:
        yield slice(start, start + sum(sizes)), sizes


def held_out_squares(left: Tensor, n: int) -> Tensor:
    """Squared distances (..., g) of a group's images to the Gaussian of the other n - g images.

    Args:
        left: B of the group, (..., g, g), float64.
        n: number of all training images.
    """
    g = left.shape[-1]
    inverse = torch.linalg.inv(left) if g > 1 else 1 / left
    return ((n - g - 1) * (inverse.diagonal(dim1=-2, dim2=-1) - 1 - 1 / (n - g))).clamp(min=0)


def held_out_distances(whitened: Sequence[Tensor], grids: tuple[Grid, ...], groups: Sequence[int], n: int) -> Tensor:
    """Distances of training images to the Gaussians of all training images outside their group.

    Args:
        whitened: what `whitened` of the float64 Gaussians of all n images makes of these images' features, one tensor a
            layer, coarse to fine, each (positions, channels, images).
        grids: (height, width) of each layer.
        groups: the sizes of the groups; each group's images follow one another.
        n: number of all training images.

    Returns:
        Distances (images, height, width) on the finest grid.
    """
    squares, start = [], 0
    for size, run in groupby(groups):
        end = start + size * len(list(run))
        hat = summed(hat_of(z[..., start:end].unflatten(-1, (-1, size))) for z in whitened) / (n - 1)
        left = torch.eye(size, dtype=hat.dtype, device=hat.device) - 1 / n - hat
        squares.append(held_out_squares(left, n).flatten(1))
        start = end
    return on_grid(torch.cat(squares, dim=-1), grids).float()


def hat_of(z: Tensor) -> Tensor:
    """Products of the images of each group: (positions, channels, groups, g) -> (positions, groups, g, g)."""
    if z.shape[-1] == 1:
        return z.square().sum(1)[..., None]
    rows = z.permute(0, 2, 3, 1)
    return rows @ rows.mT


def conformal_distances(
    features: Sequence[Tensor], new: Sequence[Tensor], eps: Eps, groups: Sequence[int] | None = None
) -> Tensor:
    """For each new image, put among the n training images: the distances of all n + 1, each held out in turn.

    What is added to the variances is computed of the n + 1 images as well, so that all of them are treated alike.

    Args:
        features: of the training images, one tensor a layer, coarse to fine, each (n, channels, height, width).
        new: of m new images.
        eps: added to the variances, or how it is computed.
        groups: the sizes of the training images' groups, which follow one another; each image alone unless given.

    Returns:
        (m, n + 1, height, width) on the finest grid, float32; the new image's own distance is the last of the n + 1.
    """
    n, m = len(features[0]), len(new[0])
    total = n + 1
    sizes = [*(groups or [1] * n), 1]
    grids, device = grids_of(features), features[0].device
    d = sum(layer.shape[1] for layer in features)

    def products(rows: list[slice]) -> tuple[Tensor, Tensor, Tensor]:
        """Of the deviations from the training mean: (p, n, n), (p, n, m), and the new images' squares (p, m)."""
        own, others = (nested(x, rows) for x in (features, new))
        inner, cross, squares = [], [], []
        for x, y in zip(own, others, strict=True):
            x, y = x.double(), y.double()
            mean = x.mean(-1, keepdim=True)
            x, y = x - mean, y - mean
            inner.append(x.mT @ x)
            cross.append(x.mT @ y)
            squares.append(y.square().sum(1))
        return summed(inner), summed(cross), summed(squares)

    def traces(rows: list[slice]) -> tuple[Tensor, Tensor]:
        """trace(S) and trace(S^2) of the n + 1 images at each patch, (p, m): S gains n / (n + 1) of the new square."""
        inner, cross, squares = products(rows)
        share = n / total
        trace = inner.diagonal(dim1=1, dim2=2).sum(1)[:, None] + share * squares
        square = inner.square().sum((1, 2))[:, None] + 2 * share * cross.square().sum(1) + (share * squares).square()
        return trace / n, square / n**2

    if eps == "oas":
        parts = in_threads(traces, blocks(grids, device), device)
        trace, square = (torch.cat(column) for column in zip(*parts, strict=True))
        added = [added_variance(trace[:, k], square[:, k], total, d) for k in range(m)]
    else:
        added = [float(eps)] * m

    def held_out(rows: list[slice]) -> Tensor:
        inner, cross, squares = products(rows)
        out = inner.new_empty(len(inner), m, total)
        gram = inner.new_empty(len(inner), total, total)
        for k in range(m):
            gram[:, :n, :n] = inner
            gram[:, :n, n] = gram[:, n, :n] = cross[..., k]
            gram[:, n, n] = squares[:, k]
            left = _left_by_hat(gram, n * added[k])
            own = [held_out_squares(block, total).flatten(1) for block in _diagonal_blocks(left, sizes)]
            out[:, k] = torch.cat(own, dim=-1)
        return out.flatten(1).float()

    flat = torch.cat(in_threads(held_out, blocks(grids, device), device))
    return on_grid(flat, grids).unflatten(0, (m, total))


def _left_by_hat(gram: Tensor, rho: float) -> Tensor:
    """B of all n images (p, n, n), by the products of their vectors: rho (K + rho I)^-1 - 11' / n, K the centered ones.

    1 is an eigenvector of K with the eigenvalue 0. It gets one like the others' first, and is taken out of the inverse
    afterwards: otherwise it would drown them where rho is small.
    """
    n = gram.shape[-1]
    means = gram.mean(-1, keepdim=True)
    k = gram - means - means.mT + means.mean(1, keepdim=True)
    typical = k.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    k += typical / n
    k.diagonal(dim1=1, dim2=2).add_(rho)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(k))
    return rho * (inverse - 1 / (n * (rho + typical)))


def _diagonal_blocks(hat: Tensor, sizes: Sequence[int]) -> Iterator[Tensor]:
    """The groups' own blocks of (p, n, n), groups of one image all at once where they follow one another."""
    start = 0
    for size, run in groupby(sizes):
        count = len(list(run))
        if size == 1:
            own = slice(start, start + count)
            yield hat[:, own, own].diagonal(dim1=1, dim2=2)[..., None, None]
        else:
            for k in range(count):
                own = slice(start + k * size, start + (k + 1) * size)
                yield hat[:, own, own]
        start += size * count


def expect_others(groups: Sequence[int], n: int) -> None:
    """ModelError unless at least two images are left whichever group is left out."""
    largest = max(groups, default=1)
    if largest == 1 and n - 1 < MIN_OTHERS:
        raise ModelError(f"leaving an image out needs at least 3 good images, there are {n}: give more")
    if n - largest < MIN_OTHERS:
        raise ModelError(
            f"leaving out a group of {largest} of {n} good images leaves too few to fit to: give images of other groups"
        )
