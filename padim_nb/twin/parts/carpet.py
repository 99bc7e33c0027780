"""carpet: grey-beige woven loops that fill the picture, under even light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import noise
from ..canvas import Canvas, Jitter
from ..marks import Blot, Line, Shard, splinter, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, mix

PERIOD = 0.115  # side of a loop's diamond


@dataclass(frozen=True)
class Carpet(Scene):
    """`warmth`: 0 grey to 1 beige."""

    warmth: float = 0.5


def good(rng: np.random.Generator) -> Carpet:
    return Carpet(seed=int(rng.integers(1 << 31)), warmth=float(rng.uniform(0.35, 0.65)))


def paint(carpet: Carpet, canvas: Canvas) -> Surface:
    u, v = carpet.pose.to_part(canvas.x, canvas.y)
    bend = noise.stream(carpet.seed, "bend")
    wu = u + 0.008 * noise.fractal(u, v, bend, 2.5, 3)
    wv = v + 0.008 * noise.fractal(u, v, bend, 2.5, 3)
    a, b = (wu + 0.8 * wv) / PERIOD, (wu - 0.8 * wv) / PERIOD
    i, j = np.floor(a).astype(np.int32), np.floor(b).astype(np.int32)
    fa, fb = (a - i).astype(np.float32), (b - j).astype(np.float32)
    loop = np.sqrt(np.clip(np.sin(np.pi * fa) * np.sin(np.pi * fb), 0, 1)).astype(np.float32)
    yarn = noise.stream(carpet.seed, "yarn").uniform(-1, 1, (128, 128)).astype(np.float32)[i % 128, j % 128]
    fibre = noise.fractal(u, v, noise.stream(carpet.seed, "fibre"), (70, 45), 2)
    cloud = noise.fractal(u, v, noise.stream(carpet.seed, "cloud"), 1.5, 3)
    strands = 0.5 + 0.5 * np.sin(2 * np.pi * (3.0 * fa + 0.5 * yarn))
    darker = ((i + j) % 2 == 0) * np.float32(0.10)

    surface = Surface(canvas)
    share = 0.55 + 0.20 * yarn + 0.22 * fibre + 0.08 * cloud - darker
    low, high = (92, 88, 86), (int(168 + 14 * carpet.warmth), 162, int(158 - 16 * carpet.warmth))
    surface.albedo[:] = mix(low, high, share)
    surface.tint((0.50 + 0.50 * loop) * (0.90 + 0.10 * strands))
    surface.height[:] = 0.020 * loop + 0.0035 * fibre
    carpet.draw_marks(surface, u, v)
    return surface


def _place(rng: np.random.Generator) -> tuple[float, float]:
    x, y = rng.uniform(-0.7, 0.7, 2)
    return float(x), float(y)


def color(carpet: Carpet, rng: np.random.Generator) -> Carpet:
    stain = [(0.95, 0.55, 0.55), (0.62, 0.72, 0.98), (0.70, 0.90, 0.68), (0.50, 0.46, 0.46)][rng.integers(4)]
    return carpet.with_marks(
        Blot(
            _place(rng),
            rng.uniform(0.12, 0.26),
            int(rng.integers(1 << 31)),
            tint=stain,
            opacity=rng.uniform(0.6, 0.95),
            soft=0.05,
            stretch=rng.uniform(1, 1.5),
            degrees=rng.uniform(0, 180),
            wobble=0.3,
        )
    )


def cut(carpet: Carpet, rng: np.random.Generator) -> Carpet:
    path = wander(rng, _place(rng), rng.uniform(0, 360), rng.uniform(0.3, 0.65), 9)
    return carpet.with_marks(
        Line(
            path,
            rng.uniform(0.03, 0.055),
            int(rng.integers(1 << 31)),
            depth=0.05,
            colour=(42, 38, 38),
            opacity=0.85,
            rim=0.014,
            ragged=0.5,
        )
    )


def hole(carpet: Carpet, rng: np.random.Generator) -> Carpet:
    where, radius, seed = _place(rng), rng.uniform(0.07, 0.15), int(rng.integers(1 << 31))
    torn = Blot(where, radius * 1.35, seed, tint=(0.72, 0.70, 0.68), soft=0.05, wobble=0.4, depth=-0.02)
    return carpet.with_marks(
        torn, Blot(where, radius, seed, colour=(34, 30, 29), wobble=0.35, depth=0.08, grain=0.5, soft=0.012)
    )


def metal_contamination(carpet: Carpet, rng: np.random.Generator) -> Carpet:
    outline = splinter(rng, _place(rng), rng.uniform(0.14, 0.30), rng.uniform(0.035, 0.08))
    return carpet.with_marks(
        Shard(outline, (168, 170, 172), int(rng.integers(1 << 31)), thickness=0.03, glint=0.55, shadow=0.5)
    )


def thread(carpet: Carpet, rng: np.random.Generator) -> Carpet:
    hue = [(196, 192, 186), (52, 50, 58), (120, 44, 46), (66, 84, 130)][rng.integers(4)]
    path = wander(rng, _place(rng), rng.uniform(0, 360), rng.uniform(0.7, 1.3), 38, 14)
    return carpet.with_marks(
        Line(
            path,
            rng.uniform(0.018, 0.028),
            int(rng.integers(1 << 31)),
            depth=-0.02,
            colour=hue,
            ragged=0.2,
            taper=False,
            shadow=0.4,
        )
    )


PART = Part(
    name="carpet",
    good=good,
    paint=paint,
    defects={"color": color, "cut": cut, "hole": hole, "metal_contamination": metal_contamination, "thread": thread},
    light=Light(towards=(-0.5, -0.5, 1.0), ambient=0.5, vignette=0.05),
    jitter=Jitter(shift=0.05, scale=0.01),
)
