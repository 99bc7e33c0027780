"""Convolutions with fewer multiplications: Winograd's minimal filtering, for kernels of 3 or 4 on the processor.

A tile of 6 x 6 inputs gives 4 x 4 outputs of a 3 x 3 kernel, or 3 x 3 of a 4 x 4 one. Tile and kernel are taken as
polynomials and evaluated at six points in each direction; there the convolution is one product a point: 36 products of
matrices over the channels where the sum as it is written takes 144 a tile. The result is the same up to rounding.

A training step of EfficientAD-S in float32 on one core of an AMD EPYC takes 1 / 1.6 of torch's time with AVX-512, and
1 / 2.2 with AVX2 alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.functional import pad

SIDE = 6  # of a tile
PRODUCTS = SIDE * SIDE
POINTS = tuple(Fraction(p) for p in ("0", "1", "-1", "1/2", "-2"))  # and infinity: of the small ones these round best
ONES = POINTS.index(Fraction(1)) * (SIDE + 1)  # the product that comes into each output with weight 1
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
    """`convolved` by tiles whatever the shapes, for kernels of 3 or 4; differentiable once."""
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
    step = SIDE + 1 - kernel
    outputs = [[p**i for p in POINTS] + [Fraction(i == step - 1)] for i in range(step)]
    kernels = [[p**i / prod(p - q for q in POINTS if q != p) for i in range(kernel)] for p in POINTS]
    kernels.append([Fraction(i == kernel - 1) for i in range(kernel)])
    tiles = [[*_vanishing([q for q in POINTS if q != p]), Fraction(0)] for p in POINTS] + [_vanishing(POINTS)]
    matrices = (outputs, kernels, tiles)
    single = [torch.tensor([[float(v) for v in row] for row in matrix], dtype=torch.float64) for matrix in matrices]
    outer = [torch.kron(matrix, matrix) for matrix in single]
    return outer[0], outer[1], outer[2]


def _vanishing(roots: Sequence[Fraction]) -> list[Fraction]:
    """The coefficients of (x - a)(x - b)..., lowest first."""
    product = [Fraction(1)]
    for root in roots:
        pairs = zip([Fraction(0), *product], [*product, Fraction(0)], strict=True)
        product = [high - root * low for high, low in pairs]
    return product


class _Plan:
    """How an image is cut into tiles, block by block of their rows; arrays are (b, rows, columns, channels)."""

    def __init__(self, x: Tensor, weight: Tensor, padding: int) -> None:
        self.filters, self.channels, self.kernel, _ = weight.shape
        self.padding, self.step = padding, SIDE + 1 - self.kernel
        self.height, self.width = x.shape[2:]
        self.rows, self.columns = (length + 2 * padding - self.kernel + 1 for length in x.shape[2:])
        self.down, self.across = -(-self.rows // self.step), -(-self.columns // self.step)
        matrices = transforms(self.kernel)
        self.to_outputs, self.of_kernels, self.of_tiles = (matrix.to(x.dtype) for matrix in matrices)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """(first row of tiles, rows of tiles) of each block."""
        high = -(-self.down // -(-self.down * self.across // TILES))
        return ((first, min(high, self.down - first)) for first in range(0, self.down, high))

    def whole(self, count: int) -> tuple[int, int, int, int]:
        """The shape of the outputs with those of all tiles."""
        return count, self.down * self.step, self.across * self.step, self.filters

    def framed(self, x: Tensor) -> Tensor:
        """(b, c, h, w) as whole tiles, zeros around."""
        p, reach = self.padding, self.kernel - 1
        lower = self.down * self.step + reach - self.height - p
        right = self.across * self.step + reach - self.width - p
        return _padded(x, p, lower, p, right)

    def kernels(self, weight: Tensor) -> Tensor:
        """(36, channels, filters): the kernels at the points."""
        flat = weight.permute(2, 3, 1, 0).reshape(self.kernel**2, -1)
        return (self.of_kernels @ flat).view(PRODUCTS, self.channels, self.filters)

    def tiles(self, image: Tensor, first: int, high: int) -> Tensor:
        """(tiles, 36, channels): a block of a framed image at the points."""
        down, right, _ = image.stride()
        start = image.storage_offset() + first * self.step * down
        shape = (high, self.across, SIDE, SIDE, self.channels)
        cut = image.as_strided(shape, (self.step * down, self.step * right, down, right, 1), start)
        return _transformed(self.of_tiles, cut.reshape(-1, PRODUCTS, self.channels))

    def put(self, outputs: Tensor, products: Tensor, first: int, high: int) -> None:
        """From a block's products, (tiles, 36, filters), to its rows of the outputs."""
        block = self._by_tiles(outputs, first, high)
        block.copy_(_transformed(self.to_outputs, products).view(block.shape))

    def put_back(self, outputs: Tensor, first: int, high: int) -> Tensor:
        """`put` the other way round, for gradients: rows of the outputs -> (tiles, 36, filters)."""
        block = self._by_tiles(outputs, first, high)
        return _transformed(self.to_outputs.T, block.reshape(-1, self.step**2, self.filters))

    def tiles_back(self, image: Tensor, tiles: Tensor, first: int, high: int) -> None:
        """`tiles` the other way round: each tile's gradient is added where the tile was cut."""
        s = self.step
        slopes = _transformed(self.of_tiles.T, tiles).view(high, self.across, SIDE, SIDE, -1)
        for i in range(SIDE):
            rows = image[first * s + i :: s][:high]
            for j in range(SIDE):
                rows[:, j::s][:, : self.across] += slopes[:, :, i, j]

    def _by_tiles(self, outputs: Tensor, first: int, high: int) -> Tensor:
        """A block's rows of the outputs as (rows of tiles, tiles, step, step, filters)."""
        s = self.step
        return outputs[first * s : (first + high) * s].view(high, s, self.across, s, -1).transpose(1, 2)


def _padded(x: Tensor, *sides: int) -> Tensor:
    """(b, c, h, w) -> (b, h, w, c) with zeros above, below, left and right."""
    above, below, left, right = sides
    x = x.permute(0, 2, 3, 1)
    return (pad(x, (0, 0, left, right, above, below)) if any(sides) else x).contiguous()


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
        plan = _Plan(x, weight, padding)
        framed, kernels = plan.framed(x), plan.kernels(weight)
        size = (len(x), plan.filters, plan.rows, plan.columns)
        result = torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last)
        shown, whole = result.permute(0, 2, 3, 1), plan.whole(len(x))
        tiled = shown if shown.shape == whole else x.new_empty(whole)
        for image, outputs in zip(framed, tiled, strict=True):
            for block in plan.blocks():
                products = _at_points(plan.tiles(image, *block), kernels)
                products[:, ONES] += bias
                plan.put(outputs, products, *block)
        ctx.plan = plan
        ctx.save_for_backward(framed, weight, kernels)
        if tiled is not shown:
            shown.copy_(tiled[:, : plan.rows, : plan.columns])
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        plan: _Plan = ctx.plan
        framed, weight, kernels = ctx.saved_tensors
        _, height, width, _ = plan.whole(len(slope))
        slopes = _padded(slope, 0, height - plan.rows, 0, width - plan.columns)
        to_framed, to_kernels = torch.zeros_like(framed), torch.zeros_like(kernels)
        for number, image in enumerate(framed):
            for block in plan.blocks():
                products = plan.put_back(slopes[number], *block)
                to_kernels.baddbmm_(plan.tiles(image, *block).permute(1, 2, 0), products.transpose(0, 1))
                plan.tiles_back(to_framed[number], _at_points(products, kernels.transpose(1, 2)), *block)
        side, p = plan.kernel, plan.padding
        flat = (plan.of_kernels.T @ to_kernels.view(PRODUCTS, -1)).view(side, side, plan.channels, plan.filters)
        to_weight = torch.empty_like(weight).copy_(flat.permute(3, 2, 0, 1))
        to_x = to_framed[:, p : p + plan.height, p : p + plan.width].permute(0, 3, 1, 2)
        return to_x, to_weight, slope.sum((0, 2, 3)), None
