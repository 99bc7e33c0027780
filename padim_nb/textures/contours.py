"""Contours: closed curves whose radius waves with the angle, filled, hollow or in rings, several in an image."""

from __future__ import annotations

import numpy as np

from .fields import Array, cloud, colored, edge, grid, lit, pick, sample_palette, shaded


def parameters(rng: np.random.Generator) -> dict:
    waves = int(rng.integers(1, 4))
    return {
        "orders": [int(k) for k in rng.integers(2, 14, waves)],
        "depths": (rng.uniform(0.05, 0.35, waves) / np.arange(1, waves + 1)).round(4).tolist(),
        "corner": rng.uniform(0.6, 2.5),
        "style": pick(rng, "filled", "hollow", "rings", "dome"),
        "count": int(pick(rng, 1, 2, 4, 8)),
        "size": rng.uniform(0.3, 0.8),
        "line": rng.uniform(0.02, 0.12),
        "rings": rng.uniform(2.0, 7.0),
        "ground": rng.uniform(0.0, 0.4),
        "slope": rng.uniform(1.0, 2.0),
        "lamp": rng.uniform(0, 2 * np.pi),
        "palette": sample_palette(rng),
        "ground_palette": sample_palette(rng),
    }


def draw(p: dict, rng: np.random.Generator, side: int) -> Array:
    x, y = grid(side)
    image = colored(p["ground"] * cloud(rng, side, p["slope"]) * 0.5, p["ground_palette"])
    phases = rng.uniform(0, 2 * np.pi, len(p["orders"])) if p["count"] > 1 else np.linspace(0, 2, len(p["orders"]))
    for number in range(p["count"]):
        size = p["size"] * rng.uniform(0.7, 1.2) / np.sqrt(p["count"]) * 1.2
        cx, cy = rng.uniform(-0.8, 0.8, 2) if p["count"] > 1 else rng.uniform(-0.3, 0.3, 2)
        distance = _distance(p, x - cx, y - cy, size, phases, rng.uniform(0, 2 * np.pi))
        cover, tone, light = _painted(p, distance, size)
        color = shaded(colored(tone + 0.13 * number, p["palette"]), light)
        image = image * (1 - cover[..., None]) + color * cover[..., None]
    return image


def _distance(p: dict, x: Array, y: Array, size: float, phases: Array, turn: float) -> Array:
    """About how far outside the contour each pixel lies, in units of its size; negative inside."""
    angle = np.arctan2(y, x) + np.float32(turn)
    radius = np.ones_like(x)
    for order, depth, phase in zip(p["orders"], p["depths"], phases, strict=True):
        wave = np.sin(order * angle + np.float32(phase))
        radius += np.float32(depth) * np.sign(wave) * np.abs(wave) ** np.float32(p["corner"])
    return np.hypot(x, y) / np.float32(size) - radius


def _painted(p: dict, distance: Array, size: float) -> tuple[Array, Array, Array]:
    """(cover, tone, light) of one figure, each (side, side)."""
    soft = 2.0 / (len(distance) * size)
    inside = edge(distance, soft)
    ones = np.ones_like(distance)
    if p["style"] == "hollow":
        return edge(np.abs(distance) - p["line"], soft), 0 * distance + 0.3, ones
    if p["style"] == "rings":
        return inside, 0.5 * np.floor(distance * p["rings"]) / p["rings"], ones
    if p["style"] == "dome":
        dome = np.sqrt(np.clip(-distance, 0, 1))
        return inside, 0.2 * dome, lit(dome, p["lamp"], 0.5, 0.4)
    return inside, 0.2 * distance, ones
