"""bottle: straight down the neck of a brown glass bottle on a white back light; concentric rings of glass."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..marks import Blot, Line, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, linear

# radius -> colour of the glass along it, from the middle outwards
PROFILE = (
    (0.00, (120, 112, 100)),
    (0.24, (98, 88, 74)),
    (0.315, (52, 40, 28)),
    (0.345, (18, 12, 8)),
    (0.40, (44, 24, 10)),
    (0.43, (176, 128, 66)),
    (0.455, (226, 196, 140)),
    (0.475, (120, 72, 28)),
    (0.52, (58, 30, 11)),
    (0.56, (150, 94, 38)),
    (0.585, (240, 216, 166)),
    (0.61, (136, 82, 32)),
    (0.67, (40, 20, 8)),
    (0.745, (26, 13, 6)),
    (0.775, (90, 52, 20)),
    (0.80, (40, 22, 10)),
    (0.835, (16, 9, 5)),
)
RIM = 0.845


@dataclass(frozen=True)
class Neck(Scene):
    """`turn`: where the glass is uneven; `broken`: (angle, half width, outer radius, depth) of a break, in radians."""

    turn: float = 0.0
    broken: tuple[float, float, float, float] | None = None


def good(rng: np.random.Generator) -> Neck:
    return Neck(seed=int(rng.integers(1 << 31)), turn=float(rng.uniform(0, 2 * np.pi)))


def paint(neck: Neck, canvas: Canvas) -> Surface:
    u, v = neck.pose.to_part(canvas.x, canvas.y)
    surface = Surface(canvas, (238, 240, 240))
    radius, angle = shapes.polar(u, v)
    uneven = noise.stream(neck.seed, "uneven")
    wave = noise.fractal(np.cos(angle), np.sin(angle), uneven, 1.6, 3)
    ripple = noise.fractal(u, v, uneven, 5, 2)
    bent = radius + 0.007 * wave * np.clip(radius * 3, 0, 1) + 0.0025 * ripple

    knots = np.array([r for r, _ in PROFILE], dtype=np.float32)
    hues = np.stack([linear(c) for _, c in PROFILE])
    glass = np.stack([np.interp(bent, knots, hues[:, k]) for k in range(3)], -1).astype(np.float32)
    lamp = 0.5 + 0.5 * np.cos(angle * 2 - neck.turn)
    streaks = noise.fractal(angle.astype(np.float32), (radius * 0.6).astype(np.float32), uneven, (7, 12), 3)
    glass *= (0.78 + 0.34 * lamp * np.clip((radius - 0.3) * 3, 0, 1) + 0.12 * streaks)[..., None]
    if neck.broken:
        glass = _shatter(neck, u, v, radius, angle, glass)
    surface.lay(canvas.cover(radius - RIM), np.maximum(glass, 0.0))
    surface.shadow(canvas.cover(np.abs(radius - RIM) - 0.01), 0.5, 0.02)
    neck.draw_marks(surface, u, v, canvas.cover(radius - RIM))
    return surface


def _shatter(neck: Neck, u: Array, v: Array, radius: Array, angle: Array, glass: Array) -> Array:
    where, half, outer, depth = neck.broken
    rng = noise.stream(neck.seed, "shatter")
    jag = noise.fractal(u, v, rng, 7, 3)
    away = np.abs(np.angle(np.exp(1j * (angle - where)))).astype(np.float32) + 0.10 * jag
    inside = np.clip((half - away) / 0.03, 0, 1) * np.clip((outer + 0.02 * jag - radius) / 0.012, 0, 1)
    inside *= np.clip((radius - (outer - depth) - 0.03 * jag) / 0.012, 0, 1)
    wu, wv = noise.warp(u, v, rng, 9, 0.03)
    i, j = (np.floor(w * 11).astype(np.int32) % 64 for w in (wu + 0.6 * wv, wv - 0.5 * wu))
    level = rng.choice([0.015, 0.04, 0.10, 0.28, 0.75], (64, 64), p=[0.34, 0.28, 0.22, 0.12, 0.04]).astype(np.float32)[
        i, j
    ]
    amber = (level * (1 + 0.5 * noise.fractal(u, v, rng, 22, 3)))[..., None] * np.array(
        [1.15, 0.95, 0.62], dtype=np.float32
    )
    return glass + (amber - glass) * inside[..., None]


def _break(neck: Neck, rng: np.random.Generator, half: float, depth: float) -> Neck:
    outer = (0.64, 0.60)[rng.integers(2)]
    return replace(neck, broken=(float(rng.uniform(-np.pi, np.pi)), half, outer, depth))


def broken_large(neck: Neck, rng: np.random.Generator) -> Neck:
    return _break(neck, rng, rng.uniform(0.5, 0.95), rng.uniform(0.17, 0.24))


def broken_small(neck: Neck, rng: np.random.Generator) -> Neck:
    return _break(neck, rng, rng.uniform(0.14, 0.28), rng.uniform(0.08, 0.15))


def contamination(neck: Neck, rng: np.random.Generator) -> Neck:
    turn, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.22)
    where = (float(reach * np.cos(turn)), float(reach * np.sin(turn)))
    hue = [(196, 190, 176), (44, 40, 34), (150, 142, 120)][rng.integers(3)]
    lump = Blot(
        where,
        rng.uniform(0.05, 0.12),
        int(rng.integers(1 << 31)),
        colour=hue,
        opacity=0.8,
        soft=0.03,
        wobble=0.6,
        grain=0.5,
        stretch=rng.uniform(1, 1.7),
        degrees=rng.uniform(0, 180),
    )
    hairs = [
        Line(
            wander(rng, where, rng.uniform(0, 360), rng.uniform(0.12, 0.28), 45),
            0.012,
            int(rng.integers(1 << 31)),
            colour=hue,
            opacity=0.75,
        )
        for _ in range(rng.integers(0, 4))
    ]
    return neck.with_marks(lump, *hairs)


PART = Part(
    name="bottle",
    good=good,
    paint=paint,
    defects={"broken_large": broken_large, "broken_small": broken_small, "contamination": contamination},
    light=Light(ambient=1.0, vignette=0.03),
    jitter=Jitter(shift=0.012, scale=0.006),
)
