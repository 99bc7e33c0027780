"""Cells and strands: Voronoi mosaics, cracks between them, pebbles, bundles of hairs, straight cuts."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from .fields import Array, bent, cloud, colored, edge, grid, lit, pick, sample_palette, shaded, turned


def parameters(rng: np.random.Generator) -> dict:
    return {
        "style": pick(rng, "mosaic", "cracks", "pebbles", "strands", "strands", "cuts"),
        "count": float(np.exp(rng.uniform(np.log(15), np.log(500)))),
        "stretch": float(pick(rng, 1.0, 1.0, rng.uniform(1.5, 5.0))),
        "turn": rng.uniform(0, np.pi),
        "spread": float(pick(rng, 0.05, 0.3, 1.5)),
        "width": float(np.exp(rng.uniform(np.log(0.01), np.log(0.08)))),
        "bend": rng.uniform(0.0, 0.15),
        "relief": float(pick(rng, 0.0, rng.uniform(0.1, 0.7))),
        "lamp": rng.uniform(0, 2 * np.pi),
        "grain": rng.uniform(0.0, 0.4),
        "slope": rng.uniform(0.5, 1.8),
        "palette": sample_palette(rng),
    }


def draw(p: dict, rng: np.random.Generator, side: int) -> Array:
    height, tone = (_strands if p["style"] in ("strands", "cuts") else _voronoi)(p, rng, side)
    grain = cloud(rng, side, p["slope"])
    image = colored(tone + 0.3 * p["grain"] * grain, p["palette"])
    return shaded(image, lit(height + 0.03 * grain, p["lamp"], p["relief"], 0.3)) if p["relief"] else image


def _voronoi(p: dict, rng: np.random.Generator, side: int) -> tuple[Array, Array]:
    x, y = turned(*bent(*grid(side), rng, 0.3 * p["bend"]), p["turn"])
    x = x / np.float32(p["stretch"])
    points = rng.uniform(-1.5, 1.5, (max(int(p["count"]), 4), 2))
    distance, index = cKDTree(points).query(np.stack([x.ravel(), y.ravel()], -1), k=2, workers=1)
    near, far = distance.astype(np.float32).T.reshape(2, side, side)
    own = rng.random(len(points)).astype(np.float32)[index[:, 0]].reshape(side, side)
    size = np.float32(2.5 / np.sqrt(p["count"]))
    if p["style"] == "mosaic":
        return np.clip((far - near) / (0.3 * size), 0, 1), own
    if p["style"] == "cracks":
        crack = edge(far - near - p["width"], 0.03)
        return 1 - crack, 0.5 * crack + 0.15 * own
    return np.clip(1 - (near / size) ** 2, 0, 1), 0.3 * own + 0.5 * near / size


def _strands(p: dict, rng: np.random.Generator, side: int) -> tuple[Array, Array]:
    height, tone = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    x, y = bent(*grid(side), rng, p["bend"] if p["style"] == "strands" else 0.0)
    for _ in range(min(int(8 + p["count"] / 5), 60)):
        u, v = turned(x, y, p["turn"] + rng.normal(0, p["spread"]))
        width = p["width"] * rng.uniform(0.6, 1.5)
        across = (v - rng.uniform(-1.3, 1.3)) / width
        here = np.abs(across) < 1
        if p["style"] == "cuts":
            here &= np.abs(u - rng.uniform(-1, 1)) < rng.uniform(0.1, 1.0)
        height[here] = np.sqrt(1 - across[here] ** 2)
        tone[here] = rng.uniform(0.2, 1.0)
    return height, tone
