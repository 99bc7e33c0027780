"""Clouds: color noise with a natural spectrum, ridges, drawn-out grain, islands."""

from __future__ import annotations

import numpy as np

from .fields import Array, cloud, colored, lit, pick, sample_palette, shaded


def parameters(rng: np.random.Generator) -> dict:
    return {
        "style": pick(rng, "plain", "plain", "ridged", "islands", "free color"),
        "slope": rng.uniform(0.5, 2.4),
        "stretch": float(pick(rng, 1.0, 1.0, rng.uniform(2.0, 12.0))),
        "turn": rng.uniform(0, np.pi),
        "cycles": rng.uniform(0.15, 0.8),
        "relief": float(pick(rng, 0.0, rng.uniform(0.2, 1.2))),
        "lamp": rng.uniform(0, 2 * np.pi),
        "level": rng.uniform(-0.8, 0.8),
        "palette": sample_palette(rng),
    }


def draw(p: dict, rng: np.random.Generator, side: int) -> Array:
    field = cloud(rng, side, p["slope"], p["stretch"], p["turn"])
    if p["style"] == "free color":
        others = [cloud(rng, side, p["slope"], p["stretch"], p["turn"]) for _ in range(2)]
        mixing = np.asarray(p["palette"][3:12], dtype=np.float32).reshape(3, 3) - 0.4
        return 0.5 + 0.35 * np.stack([field, *others], -1) @ mixing
    if p["style"] == "ridged":
        field = 1.5 - 2.0 * np.abs(field)
    if p["style"] == "islands":
        inside = field > p["level"]
        field = np.where(inside, 1.0 + 0.2 * field, -1.0 + 0.2 * cloud(rng, side, p["slope"]))
    image = colored(field * p["cycles"] * 0.5, p["palette"])
    return shaded(image, lit(field, p["lamp"], p["relief"], 0.2)) if p["relief"] else image
