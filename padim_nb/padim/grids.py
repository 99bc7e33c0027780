"""The order of positions in which the patches of a coarse cell stand together, on every layer.

Nearest up-sampling repeats a coarse position over a cell of fine ones. In nested order that cell is a run of
consecutive rows: `stacked` sees them as one, `over_cells` repeats a coarse row over them, and sums over images are
batched matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..errors import OptionError

Grid = tuple[int, int]


def grid_of(features: Tensor) -> Grid:
    """(height, width) of features (n, channels, height, width)."""
    return int(features.shape[-2]), int(features.shape[-1])


def nesting(grids: Sequence[Grid], device: torch.device | str = "cpu") -> list[Tensor]:
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
        row, column = orders[-1] // width, orders[-1] % width
        inner = torch.arange(r, device=device)
        rows = (row[:, None, None] * r + inner[:, None]).expand(-1, r, r)
        columns = (column[:, None, None] * r + inner).expand(-1, r, r)
        orders.append((rows * w + columns).reshape(-1))
    return orders


def nested(features: Sequence[Tensor]) -> list[Tensor]:
    """Features [(n, channels, height, width)], coarse to fine -> copies [(positions, channels, n)] in nested order."""
    orders = nesting([grid_of(layer) for layer in features], features[0].device)
    return [
        layer.flatten(2).permute(2, 1, 0)[order].contiguous() for layer, order in zip(features, orders, strict=True)
    ]


def stacked(fine: Tensor, coarse: Tensor) -> Tensor:
    """(positions, c, m) of a fine layer seen as (positions of `coarse`, all rows of the cell, m)."""
    return fine.view(coarse.shape[0], -1, fine.shape[-1])


def over_cells(coarse: Tensor, fine: Tensor) -> Tensor:
    """The rows of `coarse`, each repeated for the positions of `fine` in its cell."""
    return coarse.repeat_interleave(len(fine) // len(coarse), dim=0)


def on_grid(squares: Sequence[Tensor], grids: Sequence[Grid]) -> Tensor:
    """Each layer's part of the squared distance, (positions, n) -> distances (n, height, width) on the finest grid."""
    total = squares[0]
    for square in squares[1:]:
        total = square + over_cells(total, square)
    flat = torch.empty_like(total)
    flat[nesting(grids, total.device)[-1]] = total
    return flat.sqrt().T.reshape(-1, *grids[-1])
