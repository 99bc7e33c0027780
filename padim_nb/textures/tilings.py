"""Tilings and weaves: gratings, checks, bricks, hexagons, Truchet arcs and woven bands, bent and lit as relief."""

from __future__ import annotations

import numpy as np

from .fields import Array, bent, cloud, colored, edge, grid, lit, pick, sample_palette, shaded, turned


def parameters(rng: np.random.Generator) -> dict:
    return {
        "style": pick(rng, "grating", "check", "bricks", "hexagons", "truchet", "weave", "weave", "dots"),
        "period": float(np.exp(rng.uniform(np.log(0.06), np.log(0.5)))),
        "aspect": rng.uniform(0.5, 2.0),
        "turn": rng.uniform(0, np.pi),
        "bend": float(pick(rng, 0.0, 0.0, rng.uniform(0.01, 0.12))),
        "gap": rng.uniform(0.05, 0.4),
        "relief": rng.uniform(0.0, 0.25),
        "gloss": rng.uniform(0.0, 0.6),
        "lamp": rng.uniform(0, 2 * np.pi),
        "grain": rng.uniform(0.0, 0.3),
        "slope": rng.uniform(0.6, 1.8),
        "odd": rng.uniform(0.0, 0.6),
        "under": int(rng.integers(1, 4)),
        "palette": sample_palette(rng),
    }


def draw(p: dict, rng: np.random.Generator, side: int) -> Array:
    x, y = turned(*grid(side), p["turn"] + rng.normal(0, 0.1))
    x, y = bent(x, y, rng, p["bend"])
    u = x / p["period"] + rng.uniform(0, 50)
    v = y / (p["period"] * p["aspect"]) + rng.uniform(0, 50)
    height, tile = _STYLES[p["style"]](u.astype(np.float32), v.astype(np.float32), p)
    grain = cloud(rng, side, p["slope"])
    tone = 0.35 * height + p["odd"] * _shuffled(tile, rng) + p["grain"] * 0.4 * grain
    return shaded(colored(tone, p["palette"]), lit(height + 0.05 * grain, p["lamp"], p["relief"], p["gloss"]))


def _grating(u: Array, v: Array, p: dict) -> tuple[Array, Array]:
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * u)
    return wave ** (0.4 + 3 * p["gap"]), np.floor(u)


def _check(u: Array, v: Array, p: dict) -> tuple[Array, Array]:
    odd = (np.floor(u) + np.floor(v)) % 2
    return _pillow(u, v, 0.3 * p["gap"]) * (0.4 + 0.6 * odd), odd


def _bricks(u: Array, v: Array, p: dict) -> tuple[Array, Array]:
    row = np.floor(v)
    u = u * 0.5 + 0.5 * (row % 2)
    return _pillow(u, v, 0.5 * p["gap"]), np.floor(u) * 7 + row * 13


def _hexagons(u: Array, v: Array, p: dict) -> tuple[Array, Array]:
    best, second, tile = np.full_like(u, 9.0), np.full_like(u, 9.0), np.zeros_like(u)
    for shift in (0.0, 0.5):
        cu, cv = np.round(u - shift) + shift, np.round((v - shift) / 1.732) * 1.732 + shift * 1.732
        for du, dv in ((0, 0), (1, 0), (-1, 0)):
            a, b = cu + du, cv + dv
            d = np.hypot(u - a, v - b)
            tile = np.where(d < best, a * 3 + b * 11, tile)
            second = np.minimum(second, np.maximum(best, d))
            best = np.minimum(best, d)
    return np.clip((second - best) / (0.1 + p["gap"]), 0, 1), tile


def _truchet(u: Array, v: Array, p: dict) -> tuple[Array, Array]:
    a, b = u - np.floor(u), v - np.floor(v)
    a = np.where(np.sin(np.floor(u) * 127.1 + np.floor(v) * 311.7) > 0, a, 1 - a)
    ring = np.minimum(np.abs(np.hypot(a, b) - 0.5), np.abs(np.hypot(1 - a, 1 - b) - 0.5))
    return edge(ring - 0.3 * p["gap"] - 0.05, 0.15), (np.hypot(a, b) < 0.5).astype(np.float32)


def _weave(u: Array, v: Array, p: dict) -> tuple[Array, Array]:
    over = ((np.floor(u) + np.floor(v) * p["under"]) % (p["under"] + 1)) < 0.5
    a, b = u - np.floor(u) - 0.5, v - np.floor(v) - 0.5
    warp = np.sqrt(np.clip(1 - (2.0 * a) ** 2, 0, 1)) * (0.75 + 0.25 * np.cos(2 * np.pi * b))
    weft = np.sqrt(np.clip(1 - (2.0 * b) ** 2, 0, 1)) * (0.75 + 0.25 * np.cos(2 * np.pi * a))
    return np.where(over, warp, weft), over.astype(np.float32)


def _dots(u: Array, v: Array, p: dict) -> tuple[Array, Array]:
    u = u + 0.5 * (np.floor(v) % 2)
    d = np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5)
    return np.sqrt(np.clip(1 - (d / (0.15 + p["gap"])) ** 2, 0, 1)), (d < 0.15 + p["gap"]).astype(np.float32)


_STYLES = {
    "grating": _grating,
    "check": _check,
    "bricks": _bricks,
    "hexagons": _hexagons,
    "truchet": _truchet,
    "weave": _weave,
    "dots": _dots,
}


def _pillow(u: Array, v: Array, gap: float) -> Array:
    """A raised tile in each unit square, with a joint of `gap` about it."""
    inside = np.minimum(0.5 - np.abs(u - np.floor(u) - 0.5), 0.5 - np.abs(v - np.floor(v) - 0.5))
    return np.clip((inside - 0.3 * gap) / 0.12, 0, 1)


def _shuffled(tile: Array, rng: np.random.Generator) -> Array:
    """A random but fixed value in 0..1 for each tile number."""
    turns = np.sin(tile * np.float32(rng.uniform(10, 90)) + np.float32(rng.uniform(0, 6))) * 43758.5
    return (turns - np.floor(turns)).astype(np.float32)
