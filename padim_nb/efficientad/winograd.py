"""Convolutions with fewer multiplications: Winograd's minimal filtering, for kernels of 3 or 4 on the processor.

A tile of 6 x 6 inputs gives 4 x 4 outputs of a 3 x 3 kernel, or 3 x 3 of a 4 x 4 one. Tile and kernel are taken as
polynomials and evaluated at six points in each direction; there the convolution is one product a point: 36 products of
matrices over the channels where the sum as it is written takes 144 a tile. The result is the same up to rounding.

A training step of EfficientAD-S in float32 on one core of an AMD EPYC takes 1 / 1.5 of torch's time with AVX-512, and
1 / 2.2 with AVX2 alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.functional import pad

SIDE = 6  # of a tile
PRODUCTS = SIDE * SIDE
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)  # and infinity: of the small ones these round best
ONES = POINTS.index(1.0) * (SIDE + 1)  # the product that comes into each output with weight 1
TILES = 400  # at a time: what is in work stays in the processor's caches
FEWEST = 64  # channels on either side, and tiles, from which on this is faster


def convolved(x: Tensor, weight: Tensor, bias: Tensor, padding: int = 0) -> Tensor:
    """A convolution with a stride of 1, by tiles where that is faster, else by torch.

    Args:
        x: (n, channels, height, width).
        weight: (filters, channels, kernel, kernel).
        bias: (filters,).
        padding: zeros on each side.

    Returns:
        (n, filters, height', width').
    """
    method = conv2d if is_faster(x, weight, padding) else functional.conv2d
    return method(x, weight, bias, padding=padding)


def conv2d(x: Tensor, weight: Tensor, bias: Tensor, padding: int = 0) -> Tensor:
    """`convolved` by tiles for all shapes, with a kernel of 3 or 4; differentiable once."""
    return _Tiled.apply(x, weight, bias, padding)


def is_faster(x: Tensor, weight: Tensor, padding: int = 0) -> bool:
    """Whether a convolution can be computed by tiles, and faster so; exported graphs keep torch's operator."""
    plain = torch.is_autocast_enabled("cpu") or torch.jit.is_tracing()
    kernel = weight.shape[-1]
    if plain or x.device.type != "cpu" or x.dtype != torch.float32 or kernel not in (3, 4):
        return False
    step = SIDE + 1 - kernel
    tiles = prod(max(0, length + 2 * padding - kernel + 1) // step for length in x.shape[2:])
    return min(*weight.shape[:2], tiles) >= FEWEST


@lru_cache
def transforms(kernel: int) -> tuple[Tensor, Tensor, Tensor]:
    """float64 matrices, for both directions at once: products -> outputs, kernel -> points, tile -> points.

    In one direction: a kernel is evaluated at each point p and divided by its distances to the others; a tile is
    multiplied by the polynomial that vanishes at all points but one; an output is a sum of the products times p^i.
    """
    step, others = SIDE + 1 - kernel, [[q for q in POINTS if q != p] for p in POINTS]
    outputs = np.column_stack([np.vander(POINTS, step, increasing=True).T, np.eye(step)[-1]])
    distances = np.array([[prod(p - q for q in rest)] for p, rest in zip(POINTS, others, strict=True)])
    kernels = np.vstack([np.vander(POINTS, kernel, increasing=True) / distances, np.eye(kernel)[-1]])
    tiles = np.vstack([[0, *np.poly(rest)][::-1] for rest in others] + [np.poly(POINTS)[::-1]])
    outer = [torch.from_numpy(np.kron(matrix, matrix)) for matrix in (outputs, kernels, tiles)]
    return outer[0], outer[1], outer[2]


class _Plan:
    """How an image is cut into tiles, block by block of their rows; arrays are (rows, columns, channels)."""

    def __init__(self, x: Tensor, weight: Tensor, padding: int) -> None:
        self.filters, self.channels, self.kernel, _ = weight.shape
        self.padding, self.step = padding, SIDE + 1 - self.kernel
        self.height, self.width = x.shape[2:]
        self.rows, self.columns = (length + 2 * padding - self.kernel + 1 for length in x.shape[2:])
        self.down, self.across = -(-self.rows // self.step), -(-self.columns // self.step)
        self.whole = (len(x), self.down * self.step, self.across * self.step, self.filters)  # outputs of all tiles
        self.to_outputs, self.of_kernels, self.of_tiles = (m.to(x.dtype) for m in transforms(self.kernel))

    def blocks(self) -> Iterator[tuple[int, int]]:
        """(first row of tiles, rows of tiles) of each block."""
        high = -(-self.down // -(-self.down * self.across // TILES))
        return ((first, min(high, self.down - first)) for first in range(0, self.down, high))

    def framed(self, x: Tensor) -> Tensor:
        """(b, channels, height, width) -> (b, rows, columns, channels), whole tiles, zeros around."""
        p, reach = self.padding, self.kernel - 1
        return _padded(x, p, self.whole[1] + reach - self.height - p, self.whole[2] + reach - self.width - p)

    def kernels(self, weight: Tensor) -> Tensor:
        """(36, channels, filters): the kernels at the points."""
        flat = weight.permute(2, 3, 1, 0).reshape(self.kernel**2, -1)
        return (self.of_kernels @ flat).view(PRODUCTS, self.channels, self.filters)

    def cut(self, image: Tensor, first: int, high: int) -> Tensor:
        """The tiles of a block of a framed image, which overlap: (rows of tiles, tiles, 6, 6, channels), a view."""
        block = image[first * self.step :].unfold(0, SIDE, self.step)[:high].unfold(1, SIDE, self.step)
        return block.permute(0, 1, 3, 4, 2)

    def tiles(self, image: Tensor, first: int, high: int) -> Tensor:
        """(tiles, 36, channels): a block of a framed image at the points."""
        return _transformed(self.of_tiles, self.cut(image, first, high).reshape(-1, PRODUCTS, self.channels))

    def outputs(self, image: Tensor, first: int, high: int) -> Tensor:
        """A block of the outputs by tiles: (rows of tiles, tiles, step, step, filters), a view."""
        s = self.step
        return image[first * s : (first + high) * s].view(high, s, self.across, s, -1).transpose(1, 2)

    def products(self, slopes: Tensor, first: int, high: int) -> Tensor:
        """(tiles, 36, filters): the gradients of a block's products from those of its outputs."""
        block = self.outputs(slopes, first, high).reshape(-1, self.step**2, self.filters)
        return _transformed(self.to_outputs.T, block)

    def add_tiles(self, image: Tensor, tiles: Tensor, first: int, high: int) -> None:
        """`tiles` the other way round, for gradients: each tile's is added where the tile was cut."""
        s = self.step
        slopes = _transformed(self.of_tiles.T, tiles).view(high, self.across, SIDE, SIDE, -1)
        for i in range(SIDE):
            rows = image[first * s + i :: s][:high]
            for j in range(SIDE):
                rows[:, j::s][:, : self.across] += slopes[:, :, i, j]


def _padded(x: Tensor, before: int, below: int, right: int) -> Tensor:
    """(b, c, h, w) -> (b, h, w, c) with zeros before (above and left), below and on the right."""
    return pad(x.permute(0, 2, 3, 1), (0, 0, before, right, before, below)).contiguous()


def _transformed(matrix: Tensor, tiles: Tensor) -> Tensor:
    """A transform of each tile, (tiles, from, channels) -> (tiles, to, channels): small products that stay in cache."""
    return torch.bmm(matrix.expand(len(tiles), *matrix.shape), tiles)


def _at_points(tiles: Tensor, kernels: Tensor) -> Tensor:
    """At each point the product over the channels, (tiles, 36, from) and (36, from, to) -> (tiles, 36, to)."""
    products = tiles.new_empty(len(tiles), PRODUCTS, kernels.shape[2])
    torch.bmm(tiles.transpose(0, 1), kernels, out=products.transpose(0, 1))
    return products


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        ctx.plan = plan = _Plan(x, weight, padding)
        framed, kernels = plan.framed(x), plan.kernels(weight)
        whole = x.new_empty(plan.whole)
        for image, outputs in zip(framed, whole, strict=True):
            for block in plan.blocks():
                products = _at_points(plan.tiles(image, *block), kernels)
                products[:, ONES] += bias
                target = plan.outputs(outputs, *block)
                target.copy_(_transformed(plan.to_outputs, products).view(target.shape))
        ctx.save_for_backward(framed, weight, kernels)
        size = (len(x), plan.filters, plan.rows, plan.columns)
        result = torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last)
        result.permute(0, 2, 3, 1).copy_(whole[:, : plan.rows, : plan.columns])
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        plan: _Plan = ctx.plan
        framed, weight, kernels = ctx.saved_tensors
        slopes = _padded(slope, 0, plan.whole[1] - plan.rows, plan.whole[2] - plan.columns)
        to_framed, to_kernels = torch.zeros_like(framed), torch.zeros_like(kernels)
        for number, image in enumerate(framed):
            for block in plan.blocks():
                products = plan.products(slopes[number], *block)
                to_kernels.baddbmm_(plan.tiles(image, *block).permute(1, 2, 0), products.transpose(0, 1))
                plan.add_tiles(to_framed[number], _at_points(products, kernels.transpose(1, 2)), *block)
        side, p = plan.kernel, plan.padding
        flat = (plan.of_kernels.T @ to_kernels.view(PRODUCTS, -1)).view(side, side, plan.channels, plan.filters)
        to_weight = torch.empty_like(weight).copy_(flat.permute(3, 2, 0, 1))
        to_x = to_framed[:, p : p + plan.height, p : p + plan.width].permute(0, 3, 1, 2)
        return to_x, to_weight, slope.sum((0, 2, 3)), None
