"""From a small map of distances to a smooth map of pixels: up-sampling and blur as one pair of matrices."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import OptionError

BORDERS = ("reflect", "mirror")  # scipy's names: the edge pixel repeated, or not
MODES = ("bilinear", "bicubic")


def smooth(
    maps: Tensor, size: tuple[int, int], sigma: float = 4.0, border: str = "reflect", mode: str = "bilinear"
) -> Tensor:
    """Up-sample (n, h, w) to (n, height, width) and blur with a Gaussian of `sigma` pixels, cut at 4 sigma.

    Both steps are linear and separable, so together they are one matrix for rows and one for columns.
    """
    if border not in BORDERS or mode not in MODES:
        raise OptionError(f"no such smoothing: border {border!r} (known: {BORDERS}), mode {mode!r} (known: {MODES})")
    rows = operator(maps.shape[-2], size[0], sigma, border, mode).to(maps.device)
    columns = operator(maps.shape[-1], size[1], sigma, border, mode).to(maps.device)
    return rows @ maps @ columns.T


@lru_cache(maxsize=32)
def operator(small: int, large: int, sigma: float, border: str, mode: str) -> Tensor:
    """The matrix (large, small) that up-samples and blurs one line, built in float64."""
    unit = torch.eye(small, dtype=torch.float64)[:, None, :, None]
    grown = interpolate(unit, size=(large, 1), mode=mode, align_corners=False)[:, 0, :, 0].T.numpy()
    if sigma > 0:
        grown = ndimage.gaussian_filter1d(grown, sigma, axis=0, mode=border, truncate=4.0)
    return torch.from_numpy(np.ascontiguousarray(grown)).float()
