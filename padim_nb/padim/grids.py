"""The order of positions in which the patches of a coarse cell stand together, on every layer.

Nearest up-sampling repeats a coarse position over a cell of fine ones. In nested order that cell is a run of
consecutive rows: `stacked` sees them as one, `over_cells` repeats a coarse row over them, and sums over images are
batched matrix products. What is computed of one `blocks` of cells needs no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache, reduce
from itertools import pairwise

import torch
from torch import Tensor

from ..errors import OptionError

Grid = tuple[int, int]
BLOCK = 7  # coarse cells at a time: intermediate results stay small and in the cache


def grids_of(features: Sequence[Tensor]) -> tuple[Grid, ...]:
    """(height, width) of each layer (n, channels, height, width)."""
    return tuple((int(layer.shape[-2]), int(layer.shape[-1])) for layer in features)


@lru_cache(maxsize=32)
def nesting(grids: tuple[Grid, ...], device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
    """Each layer's positions (row times width plus column) in nested order.

    Args:
        grids: (height, width) of each layer, coarse to fine, each a whole multiple of the one before.
        device: where the indices are needed.

    Returns:
        One tensor a layer, int64 (height * width,).
    """
    orders = [torch.arange(grids[0][0] * grids[0][1], device=device)]
    for (height, width), (h, w) in pairwise(grids):
        r = h // height
        if h != r * height or w != r * width:
            raise OptionError(f"a grid of {h}x{w} does not nest in one of {height}x{width}")
        row, column = (x[:, None, None] * r for x in (orders[-1] // width, orders[-1] % width))
        inner = torch.arange(r, device=device)
        orders.append(((row + inner[:, None]) * w + column + inner).flatten())
    return tuple(orders)


def blocks(grids: Sequence[Grid], device: torch.device | str = "cpu") -> list[list[slice]]:
    """The rows of each layer in nested order that belong to the same `BLOCK` coarse cells, block by block; a GPU takes
    all cells at once.
    """
    sizes = [height * width for height, width in grids]
    ratios = [size // sizes[0] for size in sizes]
    step = BLOCK if torch.device(device).type == "cpu" else sizes[0]
    return [[slice(start * r, (start + step) * r) for r in ratios] for start in range(0, sizes[0], step)]


def nested(features: Sequence[Tensor], rows: Sequence[slice] | None = None) -> list[Tensor]:
    """Features [(n, channels, height, width)], coarse to fine -> copies [(positions, channels, n)] in nested order,
    only these rows of each layer where they are given.
    """
    orders: Sequence[Tensor] = nesting(grids_of(features), features[0].device)
    if rows is not None:
        orders = [order[own] for order, own in zip(orders, rows, strict=True)]
    return [
        layer.flatten(2).permute(2, 1, 0)[order].contiguous() for layer, order in zip(features, orders, strict=True)
    ]


def stacked(fine: Tensor, coarse: Tensor) -> Tensor:
    """(positions, c, m) of a fine layer seen as (positions of `coarse`, all rows of the cell, m)."""
    return fine.view(coarse.shape[0], -1, fine.shape[-1])


def over_cells(coarse: Tensor, fine: Tensor) -> Tensor:
    """The rows of `coarse`, each repeated for the positions of `fine` in its cell."""
    return coarse.repeat_interleave(len(fine) // len(coarse), dim=0)


def summed(layers: Iterable[Tensor]) -> Tensor:
    """The sum of one tensor a layer (positions, ...), coarse to fine, on the positions of the finest."""
    return reduce(lambda coarse, fine: fine + over_cells(coarse, fine), layers)


def on_grid(squares: Tensor, grids: tuple[Grid, ...]) -> Tensor:
    """Squared distances (positions of the finest grid, n), nested -> distances (n, height, width)."""
    flat = torch.empty_like(squares)
    flat[nesting(grids, squares.device)[-1]] = squares
    return flat.sqrt().T.reshape(-1, *grids[-1])
