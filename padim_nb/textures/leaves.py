"""Dead leaves: shapes of all sizes that hide one another, plain or filled with other procedural textures."""

from __future__ import annotations

import numpy as np

from . import cells, clouds, tilings
from .fields import Array, colored, grid, pick, sample_palette

_FILLS = {"clouds": clouds, "tilings": tilings, "cells": cells}
_COUNT = 160


def parameters(rng: np.random.Generator) -> dict:
    fills = [str(pick(rng, *_FILLS)) for _ in range(int(pick(rng, 0, 1, 2, 2)))]
    return {
        "shape": pick(rng, "circle", "square", "polygon", "mixed"),
        "least": rng.uniform(0.03, 0.12),
        "most": rng.uniform(0.4, 1.0),
        "aligned": bool(rng.random() < 0.3),
        "spread": rng.uniform(0.2, 1.0),
        "rim": float(pick(rng, 0.0, 0.0, rng.uniform(-0.4, 0.4))),
        "palette": sample_palette(rng),
        "fills": [{"kind": kind, **_FILLS[kind].parameters(rng)} for kind in fills],
    }


def draw(p: dict, rng: np.random.Generator, side: int) -> Array:
    """Painted back to front; radii follow the power law -3, as in natural images."""
    textures = [_FILLS[fill["kind"]].draw(fill, rng, side) for fill in p["fills"]]
    x, y = grid(side)
    tones = rng.random(_COUNT).astype(np.float32)
    colors = colored(tones * np.float32(p["spread"]), p["palette"])
    low, high = p["least"] ** -2, p["most"] ** -2
    radii = (low + rng.random(_COUNT) * (high - low)) ** -0.5
    radii[: _COUNT // 10] = p["most"]  # the first ones cover the ground
    image = np.broadcast_to(colors[0], (side, side, 3)).astype(np.float32)
    for radius, color in zip(radii, colors, strict=True):
        cx, cy = rng.uniform(-1.1, 1.1, 2)
        rows, columns = _span(cy, radius * 1.5, side), _span(cx, radius * 1.5, side)
        depth = _depth(p, rng, x[rows, columns] - cx, y[rows, columns] - cy, radius)
        inside = depth > 0
        if not inside.any():
            continue
        box = image[rows, columns]
        paint = np.broadcast_to(color, box.shape)
        if textures and rng.random() < 0.7:
            texture = textures[int(rng.integers(len(textures)))]
            moved = np.roll(texture, tuple(rng.integers(0, side, 2)), (0, 1))[: box.shape[0], : box.shape[1]]
            paint = 0.7 * moved + 0.3 * paint
        if p["rim"]:
            paint = paint * (1 + p["rim"] * (depth / radius)[..., None])
        box[inside] = paint[inside]
    return image


def _span(center: float, radius: float, side: int) -> slice:
    first, last = ((center - radius + 1) / 2 * side, (center + radius + 1) / 2 * side)
    return slice(max(int(first), 0), max(min(int(last) + 2, side), 0))


def _depth(p: dict, rng: np.random.Generator, x: Array, y: Array, radius: float) -> Array:
    """How far inside the leaf each pixel lies; negative outside."""
    angle = 0.0 if p["aligned"] else rng.uniform(0, 2 * np.pi)
    shape = str(pick(rng, "circle", "square", "polygon")) if p["shape"] == "mixed" else p["shape"]
    if shape == "circle":
        return radius - np.hypot(x, y)
    sides = 4 if shape == "square" else int(rng.integers(3, 8))
    stretch = rng.uniform(0.5, 1.0)
    normals = angle + 2 * np.pi * np.arange(sides) / sides
    reach = [np.cos(n) * x + np.sin(n) * y - radius * (stretch if k % 2 else 1) for k, n in enumerate(normals)]
    return -np.max(reach, axis=0)
