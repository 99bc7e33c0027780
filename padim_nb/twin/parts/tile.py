"""tile: light grey stone with black and ochre speckles of all sizes, polished."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import noise
from ..canvas import Canvas, Jitter
from ..marks import Blot, Line, scratches, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, mix

SPECKLES = (  # cells a unit, threshold, colour, opacity
    (8.0, 0.50, (150, 146, 140), 0.55),
    (11.0, 0.55, (184, 164, 138), 0.45),
    (16.0, 0.62, (84, 82, 82), 0.75),
    (32.0, 0.66, (66, 64, 64), 0.70),
    (28.0, 0.66, (232, 230, 226), 0.60),
)


@dataclass(frozen=True)
class Stone(Scene):
    """`rough`: (x, y, radius) of a patch that lost its polish."""

    rough: tuple[float, float, float] | None = None


def good(rng: np.random.Generator) -> Stone:
    return Stone(seed=int(rng.integers(1 << 31)))


def paint(stone: Stone, canvas: Canvas) -> Surface:
    u, v = stone.pose.to_part(canvas.x, canvas.y)
    surface = Surface(canvas, gloss=0.05)
    base = noise.fractal(u, v, noise.stream(stone.seed, "base"), 5, 5, 0.6)
    surface.albedo[:] = mix((150, 148, 144), (214, 212, 206), 0.55 + 0.35 * base)
    for number, (cells, threshold, colour, opacity) in enumerate(SPECKLES):
        field = noise.fractal(u, v, noise.stream(stone.seed, f"speckle{number}"), cells, 3, 0.45)
        surface.lay(np.clip((field - threshold) * 9 + 0.5, 0, 1) * np.float32(opacity), colour)
    surface.height[:] = 0.0006 * base
    if stone.rough:
        x, y, radius = stone.rough
        pits = noise.fractal(u, v, noise.stream(stone.seed, "pits"), 34, 3, 0.7)
        edge = noise.fractal(u, v, noise.stream(stone.seed, "edge"), 4, 3)
        patch = np.clip((radius - np.hypot(u - x, v - y) + 0.12 * edge) / 0.10, 0, 1)
        surface.raise_by(0.006 * pits * patch)
        surface.tint(0.70 + 0.32 * pits, patch)
    stone.draw_marks(surface, u, v)
    return surface


def _place(rng: np.random.Generator, reach: float = 0.6) -> tuple[float, float]:
    x, y = rng.uniform(-reach, reach, 2)
    return float(x), float(y)


def crack(stone: Stone, rng: np.random.Generator) -> Stone:
    def line(start: tuple[float, float], heading: float, length: float, width: float) -> Line:
        return Line(
            wander(rng, start, heading, length, 24, 16),
            width,
            int(rng.integers(1 << 31)),
            depth=0.03,
            colour=(38, 36, 36),
            opacity=0.9,
            ragged=0.6,
        )

    heading = rng.uniform(0, 360)
    trunk = line(_place(rng), heading, rng.uniform(0.9, 1.5), rng.uniform(0.018, 0.03))
    twigs = [
        line(
            trunk.points[rng.integers(3, 14)],
            heading + rng.choice([-1, 1]) * rng.uniform(30, 70),
            rng.uniform(0.3, 0.7),
            0.014,
        )
        for _ in range(rng.integers(1, 4))
    ]
    return stone.with_marks(trunk, *twigs)


def glue_strip(stone: Stone, rng: np.random.Generator) -> Stone:
    heading = rng.uniform(0, 180)
    path = wander(rng, _place(rng, 0.4), heading, rng.uniform(0.9, 1.5), 5)
    return stone.with_marks(
        Line(
            path,
            rng.uniform(0.16, 0.30),
            int(rng.integers(1 << 31)),
            colour=(226, 222, 212),
            opacity=rng.uniform(0.6, 0.85),
            depth=-0.012,
            ragged=0.12,
            taper=False,
            gloss=0.0,
        )
    )


def gray_stroke(stone: Stone, rng: np.random.Generator) -> Stone:
    style = dict(colour=(112, 112, 114), opacity=float(rng.uniform(0.55, 0.85)), ragged=0.45)
    where, heading = _place(rng), rng.uniform(0, 180)
    return stone.with_marks(*scratches(rng, where, heading, 0.1, (0.4, 0.9), (0.06, 0.14), most=4, **style))


def oil(stone: Stone, rng: np.random.Generator) -> Stone:
    return stone.with_marks(
        Blot(
            _place(rng),
            rng.uniform(0.25, 0.45),
            int(rng.integers(1 << 31)),
            tint=(0.66, 0.62, 0.54),
            opacity=rng.uniform(0.7, 1.0),
            soft=0.02,
            gloss=0.10,
            wobble=0.35,
            stretch=rng.uniform(1, 1.5),
            degrees=rng.uniform(0, 180),
        )
    )


def rough(stone: Stone, rng: np.random.Generator) -> Stone:
    return Stone(seed=stone.seed, pose=stone.pose, exposure=stone.exposure, rough=(*_place(rng), rng.uniform(0.3, 0.5)))


PART = Part(
    name="tile",
    good=good,
    paint=paint,
    defects={"crack": crack, "glue_strip": glue_strip, "gray_stroke": gray_stroke, "oil": oil, "rough": rough},
    light=Light(towards=(-0.5, -0.6, 1.0), ambient=0.5, shininess=40, vignette=0.05),
    jitter=Jitter(shift=0.1),
)
