"""Up-sampling and blur as two matrices are bilinear interpolation and scipy's Gaussian filter."""

import numpy as np
import pytest
import reference
import torch

from padim_nb.padim.smoothing import operator, smooth


@pytest.mark.parametrize("border", ["reflect", "mirror"])
@pytest.mark.parametrize(
    ("small", "large"), [((56, 56), (224, 224)), ((14, 9), (56, 40)), ((3, 5), (12, 20)), ((1, 1), (8, 8))]
)
def test_smoothing_is_bilinear_then_scipys_blur(small, large, border):
    maps = np.random.default_rng(0).random((2, *small))
    maps_of_pixels = smooth(torch.from_numpy(maps).float(), large, border=border).numpy()
    wanted = np.stack([reference.smooth(m, large, border=border) for m in maps])
    assert np.abs(maps_of_pixels - wanted).max() < 1e-5


def test_gradients_pass_after_a_first_use_without_them():
    operator.cache_clear()
    with torch.inference_mode():
        smooth(torch.ones(1, 4, 4), (8, 8))
    maps = torch.ones(1, 4, 4, requires_grad=True)
    smooth(maps, (8, 8)).sum().backward()
    assert maps.grad is not None
