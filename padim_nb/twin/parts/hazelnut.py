"""hazelnut: one nut on black ground, turned at random; streaked brown shell with a pale, rough base."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..marks import Blot, Line, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, mix


@dataclass(frozen=True)
class Nut(Scene):
    """`width`, `point`: the egg's shape; `base`: how far the pale base reaches up; `tone`: 0 pale to 1 dark."""

    width: float = 0.62
    point: float = 0.12
    base: float = 0.35
    tone: float = 0.5


def good(rng: np.random.Generator) -> Nut:
    draw = rng.uniform(0, 1, 4)
    return Nut(
        seed=int(rng.integers(1 << 31)),
        width=float(0.58 + 0.07 * draw[0]),
        point=float(0.06 + 0.12 * draw[1]),
        base=float(0.30 + 0.20 * draw[2]),
        tone=float(draw[3]),
    )


def paint(nut: Nut, canvas: Canvas) -> Surface:
    u, v = nut.pose.to_part(canvas.x, canvas.y)
    surface = Surface(canvas, (13, 13, 14))
    grit = noise.fractal(canvas.x, canvas.y, noise.stream(nut.seed, "ground"), 25, 3)
    surface.tint(1 + 0.4 * grit)

    wobble = noise.fractal(u, v, noise.stream(nut.seed, "outline"), 1.3, 2)
    squeeze = 1.0 + nut.point * v  # wider at the base (v > 0), narrower at the tip
    distance = np.hypot(u / squeeze, v * np.float32(nut.width / 0.68)) - np.float32(nut.width) - 0.012 * wobble
    cover = canvas.cover(distance)
    depth = np.clip(-distance / nut.width, 0, 1)
    ball = np.sqrt(np.clip(1 - (1 - depth) ** 2, 0, 1)).astype(np.float32)

    across = np.arctan2(u, np.sqrt(np.maximum(nut.width**2 - u**2 - 0.4 * v**2, 0.02))).astype(np.float32)
    streak = noise.fractal(across, v, noise.stream(nut.seed, "streak"), (9, 0.9), 4, 0.65)
    mottle = noise.fractal(u, v, noise.stream(nut.seed, "mottle"), 3, 4)
    fine = noise.fractal(u, v, noise.stream(nut.seed, "fine"), 26, 2)
    shell = mix((86, 44, 20), (186, 120, 66), 0.56 - 0.14 * nut.tone + 0.26 * streak + 0.14 * mottle + 0.07 * fine)
    surface.lay(cover, shell, 0.42 * ball + 0.0035 * streak + 0.0015 * fine, 0.10)

    edge = noise.fractal(across, v, noise.stream(nut.seed, "edge"), (7, 2), 3)
    line = (0.68 * (1 - nut.base) - 0.35 * u**2 + 0.035 * edge).astype(np.float32)
    rough = noise.fractal(u, v, noise.stream(nut.seed, "rough"), 18, 4, 0.65)
    cap = cover * np.clip((v - line) / 0.03, 0, 1)
    surface.lay(cap, mix((112, 84, 58), (186, 158, 122), 0.55 + 0.35 * rough), gloss=0.0)
    surface.raise_by(0.006 * rough * cap)
    nut.draw_marks(surface, u, v, cover)
    return surface


def _on_shell(rng: np.random.Generator) -> tuple[float, float]:
    turn, reach = rng.uniform(0, 2 * np.pi), 0.36 * np.sqrt(rng.uniform(0.02, 1))
    return float(reach * np.cos(turn)), float(reach * np.sin(turn)) - 0.08


def crack(nut: Nut, rng: np.random.Generator) -> Nut:
    seed = int(rng.integers(1 << 31))
    start = _on_shell(rng)
    path = wander(rng, (start[0] * 0.7, start[1] - 0.2), rng.uniform(40, 140), rng.uniform(0.5, 0.85), 30, 10)
    lip = Line(path, 0.05, seed, colour=(206, 160, 104), opacity=0.6, ragged=0.8)
    return nut.with_marks(lip, Line(path, rng.uniform(0.022, 0.04), seed, colour=(20, 9, 4), depth=0.05, ragged=0.7))


def cut(nut: Nut, rng: np.random.Generator) -> Nut:
    path = wander(rng, _on_shell(rng), rng.uniform(0, 360), rng.uniform(0.22, 0.45), 8)
    return nut.with_marks(
        Line(
            path,
            rng.uniform(0.03, 0.055),
            int(rng.integers(1 << 31)),
            colour=(214, 172, 118),
            opacity=0.85,
            depth=0.03,
            rim=0.01,
            ragged=0.4,
        )
    )


def hole(nut: Nut, rng: np.random.Generator) -> Nut:
    where, radius, seed = _on_shell(rng), rng.uniform(0.035, 0.06), int(rng.integers(1 << 31))
    collar = Blot(where, radius * 1.45, seed, colour=(196, 148, 96), opacity=0.7, wobble=0.35, soft=0.01)
    return nut.with_marks(collar, Blot(where, radius, seed, colour=(9, 5, 3), depth=0.05, wobble=0.15))


@dataclass(frozen=True)
class Stamp:
    """White letters pressed on with too little ink."""

    words: str
    centre: tuple[float, float]
    height: float
    degrees: float
    seed: int

    def draw(self, surface: Surface, u: Array, v: Array, within: Array | float = 1.0) -> None:
        angle = np.deg2rad(self.degrees)
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        x, y = u - self.centre[0], v - self.centre[1]
        ink = surface.canvas.cover(shapes.text(c * x + s * y, c * y - s * x, self.words, (0, 0), self.height) - 0.006)
        patchy = np.clip(0.75 + 0.6 * noise.fractal(u, v, noise.stream(self.seed, "ink"), 9, 3), 0.15, 0.95)
        surface.lay(ink * patchy * within, (224, 222, 214))


def print_(nut: Nut, rng: np.random.Generator) -> Nut:
    words = "".join(rng.choice(list("ABCDEHKLNRSTX234579"), 3))
    return nut.with_marks(
        Stamp(words, _on_shell(rng), rng.uniform(0.13, 0.19), rng.uniform(0, 360), int(rng.integers(1 << 31)))
    )


PART = Part(
    name="hazelnut",
    good=good,
    paint=paint,
    defects={"crack": crack, "cut": cut, "hole": hole, "print": print_},
    light=Light(towards=(-0.5, -0.6, 0.9), ambient=0.30, shininess=14, occlusion=0.3, hollow=0.03, exposure=1.15),
    jitter=Jitter(shift=0.03, degrees=180, scale=0.03),
)
