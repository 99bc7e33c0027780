"""From distances on a grid to a smooth map of pixels: up-sampling and blur as one pair of matrices."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import interpolate


def smooth(
    maps: Tensor, size: tuple[int, int], sigma: float = 4.0, border: str = "reflect", mode: str = "bilinear"
) -> Tensor:
    """Up-sample maps and blur them with a Gaussian, cut at 4 sigma.

    Both steps are linear and separable, so together they are one matrix for rows and one for columns.

    Args:
        maps: (n, h, w).
        size: (height, width) of the result.
        sigma: of the Gaussian, in pixels of the result.
        border: how maps are continued beyond their edge, in scipy's words: "reflect" repeats the edge pixel, "mirror"
            does not.
        mode: of the up-sampling, "bilinear" or "bicubic".

    Returns:
        Maps (n, height, width).

    >>> smooth(torch.ones(2, 16, 16), (64, 64)).shape
    torch.Size([2, 64, 64])
    """
    rows = operator(maps.shape[-2], size[0], sigma, border, mode).to(maps.device)
    columns = operator(maps.shape[-1], size[1], sigma, border, mode).to(maps.device)
    return rows @ maps @ columns.T


def image_scores(maps: Tensor, score: str | float = "max", roi: Tensor | None = None) -> Tensor:
    """The image scores (n,) of maps (n, height, width).

    Args:
        maps: smoothed.
        score: "max", or the share of the pixels with the largest values that the score is the mean of.
        roi: the pixels to look at, bool (height, width); all of them unless given.

    >>> image_scores(torch.arange(100.0).view(1, 10, 10), 0.02)
    tensor([98.5000])
    """
    pixels = maps.flatten(1) if roi is None else maps.flatten(1)[:, roi.flatten().nonzero().flatten()]
    if score == "max":
        return pixels.amax(1)
    count = max(1, round(float(score) * int(pixels.shape[1])))  # while ONNX traces, a shape is a tensor
    return pixels.topk(count, sorted=False).values.mean(1)


@lru_cache(maxsize=32)
def operator(small: int, large: int, sigma: float, border: str, mode: str) -> Tensor:
    """The matrix (large, small) that up-samples and blurs one line, computed in float64."""
    with torch.inference_mode(False):  # the result is kept, and gradients may pass through it later
        unit = torch.eye(small, dtype=torch.float64)[:, None, :, None]
        grown = interpolate(unit, size=(large, 1), mode=mode, align_corners=False)[:, 0, :, 0].T.numpy()
    if sigma > 0:
        grown = ndimage.gaussian_filter1d(grown, sigma, axis=0, mode=border, truncate=4.0)
    with torch.inference_mode(False):
        return torch.from_numpy(np.ascontiguousarray(grown)).float()
