"""Fractals: attractors of two to four affine maps, played as a chaos game, colored by density and by map."""

from __future__ import annotations

import numpy as np

from .fields import Array, cloud, colored, pick, sample_palette

_POINTS, _WARM_UP, _TURNS = 3000, 10, 22


def parameters(rng: np.random.Generator) -> dict:
    """Maps with bounded singular values: neither a point nor a cloud of dust."""
    count = int(rng.integers(2, 5))
    maps = []
    for _ in range(count):
        large = rng.uniform(0.45, 0.9)
        small = rng.uniform(0.25, large)
        a, b = rng.uniform(0, 2 * np.pi, 2)
        linear = _turn(a) @ np.diag(np.array([large, small * pick(rng, -1, 1)])) @ _turn(b)
        maps.append([*linear.ravel().round(4).tolist(), *rng.uniform(-1, 1, 2).round(4).tolist()])
    return {
        "maps": maps,
        "copies": int(pick(rng, 1, 1, 2, 3)),
        "ground": pick(rng, "plain", "cloud"),
        "slope": rng.uniform(1.0, 2.2),
        "by_map": rng.uniform(0.0, 0.5),
        "by_density": rng.uniform(0.1, 0.6),
        "level": rng.random(),
        "palette": sample_palette(rng),
        "ground_palette": sample_palette(rng),
    }


def draw(p: dict, rng: np.random.Generator, side: int) -> Array:
    if p["ground"] == "cloud":
        image = colored(0.2 * cloud(rng, side, p["slope"]), p["ground_palette"])
    else:
        image = np.broadcast_to(
            colored(np.array([p["level"]], np.float32), p["ground_palette"])[0], (side, side, 3)
        ).copy()
    maps = np.asarray(p["maps"], dtype=np.float32)
    points, last = _game(maps + rng.normal(0, 0.03, maps.shape).astype(np.float32), rng)
    for _ in range(p["copies"]):
        image = _stamped(image, points, last, p, rng, side)
    return image


def _turn(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def _game(maps: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """(points (m, 2) on the attractor, the map that led to each), fitted into -1..1."""
    areas = np.abs(maps[:, 0] * maps[:, 3] - maps[:, 1] * maps[:, 2]) + 0.05
    choice = rng.choice(len(maps), size=(_WARM_UP + _TURNS, _POINTS), p=areas / areas.sum())
    at = np.zeros((_POINTS, 2), dtype=np.float32)
    orbit = []
    for turn in choice:
        m = maps[turn]
        at = np.stack([m[:, 0] * at[:, 0] + m[:, 1] * at[:, 1], m[:, 2] * at[:, 0] + m[:, 3] * at[:, 1]], 1) + m[:, 4:]
        at = np.clip(at, -1e4, 1e4)
        orbit.append(at)
    points = np.concatenate(orbit[_WARM_UP:])
    low, high = np.quantile(points, [0.005, 0.995], axis=0)
    return (points - (low + high) / 2) / max(float((high - low).max()) / 2, 1e-3), choice[_WARM_UP:].ravel()


def _stamped(image: Array, points: Array, last: Array, p: dict, rng: np.random.Generator, side: int) -> Array:
    size = rng.uniform(0.5, 1.0) if p["copies"] == 1 else rng.uniform(0.3, 0.6)
    center = rng.uniform(-0.5, 0.5, 2) * (1.2 - size)
    turned = points @ _turn(rng.normal(0, 0.3)).T.astype(np.float32) * size + center
    pixel = ((turned + 1) / 2 * side).astype(np.int64)
    inside = ((pixel >= 0) & (pixel < side)).all(1)
    cell = pixel[inside, 1] * side + pixel[inside, 0]
    count = np.bincount(cell, minlength=side * side).astype(np.float32)
    color = np.bincount(cell, weights=last[inside], minlength=side * side) / np.maximum(count, 1)
    density = np.log1p(count).reshape(side, side)
    density /= max(float(density.max()), 1e-6)
    tone = p["by_map"] * color.reshape(side, side).astype(np.float32) + p["by_density"] * density
    cover = np.clip(density * 3, 0, 1)[..., None]
    return image * (1 - cover) + colored(tone, p["palette"]) * cover
