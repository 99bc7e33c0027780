"""Images made of noise by random convolutions, from 5 x 5 up to full size: structure without a rule."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import conv2d, interpolate, leaky_relu, pad

from .fields import Array

_WIDTH = 14


def parameters(rng: np.random.Generator) -> dict:
    return {
        "weights": int(rng.integers(1 << 31)),  # the seed of the convolutions
        "noise": rng.uniform(0.02, 0.4),
        "slope": rng.uniform(0.05, 0.5),
        "kernel": int(rng.choice([1, 3, 3])),
        "gain": rng.uniform(0.6, 1.6),
        "saturation": rng.uniform(0.1, 1.0),
    }


def draw(p: dict, rng: np.random.Generator, side: int) -> Array:
    fixed = np.random.default_rng(p["weights"])
    x = _normal(rng, 1, _WIDTH, 5, 5)
    while x.shape[-1] < side:
        x = interpolate(x, size=min(2 * x.shape[-1], side), mode="bilinear", align_corners=False)
        k = p["kernel"]
        weight = _normal(fixed, _WIDTH, _WIDTH, k, k) / (k * _WIDTH**0.5)
        x = leaky_relu(conv2d(pad(x, (k // 2,) * 4, "circular"), weight, _normal(fixed, _WIDTH) * 0.3), p["slope"])
        x = (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + 1e-3)
        x = x * (0.4 + torch.abs(_normal(fixed, 1, _WIDTH, 1, 1))) + p["noise"] * _normal(rng, *x.shape)
    weight = _normal(fixed, 3, _WIDTH, 1, 1) / _WIDTH**0.5
    image = torch.sigmoid(conv2d(x, weight, _normal(fixed, 3) * 0.5) * p["gain"])[0].permute(1, 2, 0).numpy()
    gray = image.mean(-1, keepdims=True)
    return gray + np.float32(p["saturation"]) * (image - gray)


def _normal(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
