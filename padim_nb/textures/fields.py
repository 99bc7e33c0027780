"""What the programs draw with: coordinates, random fields with a given spectrum, light on a height field, color."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray


def grid(side: int) -> tuple[Array, Array]:
    """Pixel centers (x, y), each (side, side), in -1..1."""
    line = ((np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1).astype(np.float32)
    return np.meshgrid(line, line)


def cloud(rng: np.random.Generator, side: int, slope: float, stretch: float = 1.0, turn: float = 0.0) -> Array:
    """A random field (side, side) whose amplitude falls as 1 / frequency^slope: mean 0, standard deviation 1.

    `stretch` > 1 draws it out along the direction `turn` (radians).
    """
    fy = np.fft.fftfreq(side)[:, None] * side
    fx = np.fft.rfftfreq(side)[None] * side
    along = (np.cos(turn) * fx + np.sin(turn) * fy) * stretch
    across = -np.sin(turn) * fx + np.cos(turn) * fy
    radius = np.sqrt(along * along + across * across)
    radius[0, 0] = np.inf
    waves = rng.standard_normal((side, side // 2 + 1)) + 1j * rng.standard_normal((side, side // 2 + 1))
    field = np.fft.irfft2(waves / np.maximum(radius, 1.0) ** slope, s=(side, side))
    return ((field - field.mean()) / (field.std() + 1e-9)).astype(np.float32)


def bent(x: Array, y: Array, rng: np.random.Generator, amount: float) -> tuple[Array, Array]:
    """The coordinates pushed about smoothly by about `amount`."""
    if amount < 1e-3:
        return x, y
    side = len(x)
    return x + np.float32(amount) * cloud(rng, side, 2.5), y + np.float32(amount) * cloud(rng, side, 2.5)


def turned(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    """The coordinates turned by `angle` (radians)."""
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return c * x + s * y, c * y - s * x


def lit(height: Array, azimuth: float, relief: float, gloss: float) -> Array:
    """Gray levels (side, side), about 0..1.3, of a height field under one lamp: soft shade and a highlight."""
    side = len(height)
    dy, dx = np.gradient(height * np.float32(relief * side / 40.0))
    norm = 1.0 / np.sqrt(dx * dx + dy * dy + 1.0)
    facing = (0.6 * (-dx * np.cos(azimuth) - dy * np.sin(azimuth)) + 0.8) * norm
    shade = np.clip(facing, 0.0, 1.0)
    return (0.25 + 0.75 * shade + gloss * shade**24).astype(np.float32)


def sample_palette(rng: np.random.Generator) -> list[float]:
    """Twelve numbers of a cosine palette; a third of the palettes are nearly gray."""
    center, swing = rng.uniform(0.25, 0.75, 3), rng.uniform(0.1, 0.5, 3)
    speed, phase = rng.uniform(0.4, 1.6, 3), rng.uniform(0, 1, 3)
    if rng.random() < 0.35:
        tint = rng.uniform(-0.03, 0.03, 3)
        center, swing, speed, phase = center[0] + tint, swing[[0] * 3], speed[[0] * 3], phase[[0] * 3]
    return np.concatenate([center, swing, speed, phase]).round(4).tolist()


def colored(t: Array, palette: list[float]) -> Array:
    """Values (...) -> colors (..., 3) of a cosine palette."""
    center, swing, speed, phase = np.asarray(palette, dtype=np.float32).reshape(4, 3)
    return center + swing * np.cos(2 * np.float32(np.pi) * (t[..., None] * speed + phase))


def shaded(color: Array, light: Array) -> Array:
    """Colors (side, side, 3) under the light (side, side)."""
    return color * light[..., None]


def edge(distance: Array, width: float) -> Array:
    """1 inside (distance < 0), 0 outside, soft over `width`."""
    return np.clip(0.5 - distance / np.float32(width), 0.0, 1.0)


def pick(rng: np.random.Generator, *choices: Any) -> Any:
    """One of the choices."""
    return choices[int(rng.integers(len(choices)))]
