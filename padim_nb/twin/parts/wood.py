"""wood: brown boards with vertical grain, growth rings and dark pores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import noise
from ..canvas import Canvas, Jitter
from ..marks import Blot, scratches
from ..scene import Part, Scene
from ..surface import Light, Surface, mix


@dataclass(frozen=True)
class Board(Scene):
    """`rings`: growth rings a unit; `tone`: 0 pale to 1 dark."""

    rings: float = 5.0
    tone: float = 0.5


def good(rng: np.random.Generator) -> Board:
    return Board(seed=int(rng.integers(1 << 31)), rings=float(rng.uniform(4, 6.5)), tone=float(rng.uniform(0.35, 0.65)))


def paint(board: Board, canvas: Canvas) -> Surface:
    u, v = board.pose.to_part(canvas.x, canvas.y)
    sway = noise.fractal(u, v, noise.stream(board.seed, "sway"), (0.9, 0.45), 3)
    fibre = noise.fractal(u, v, noise.stream(board.seed, "fibre"), (42, 2.6), 3)
    fine = noise.fractal(u, v, noise.stream(board.seed, "fine"), (110, 6), 2)
    cloud = noise.fractal(u, v, noise.stream(board.seed, "cloud"), (2.0, 0.8), 3)
    phase = board.rings * (u + 0.16 * sway)
    ring = (phase - np.floor(phase)).astype(np.float32)
    late = ring**3 * (1 - np.clip((ring - 0.93) / 0.07, 0, 1))  # pale early wood darkens, then starts anew
    pores = np.clip((noise.fractal(u, v, noise.stream(board.seed, "pores"), (95, 5), 2) - 0.75) * 6, 0, 1)

    surface = Surface(canvas, gloss=0.03)
    share = 0.68 - 0.16 * board.tone - 0.42 * late + 0.13 * fibre + 0.10 * fine + 0.10 * cloud
    surface.albedo[:] = mix((88, 52, 30), (196, 146, 98), share)
    surface.tint(1 - 0.5 * pores)
    surface.height[:] = 0.0016 * fibre + 0.001 * fine - 0.003 * pores
    board.draw_marks(surface, u, v)
    return surface


def _place(rng: np.random.Generator) -> tuple[float, float]:
    x, y = rng.uniform(-0.7, 0.7, 2)
    return float(x), float(y)


def color(board: Board, rng: np.random.Generator) -> Board:
    hue = [(168, 44, 40), (44, 66, 140), (40, 40, 44)][rng.integers(3)]
    return board.with_marks(
        *(
            Blot(
                _place(rng),
                rng.uniform(0.04, 0.09),
                int(rng.integers(1 << 31)),
                colour=hue,
                opacity=0.6,
                soft=0.015,
                wobble=0.3,
            )
            for _ in range(rng.integers(1, 4))
        )
    )


def hole(board: Board, rng: np.random.Generator) -> Board:
    where, radius, seed = _place(rng), rng.uniform(0.045, 0.075), int(rng.integers(1 << 31))
    chipped = Blot(where, radius * 1.35, seed, colour=(206, 164, 118), opacity=0.7, wobble=0.5, soft=0.01)
    return board.with_marks(chipped, Blot(where, radius, seed, colour=(24, 15, 10), depth=0.06, wobble=0.12, soft=0.01))


def liquid(board: Board, rng: np.random.Generator) -> Board:
    x, y = _place(rng)
    return board.with_marks(
        *(
            Blot(
                (x + rng.normal(0, 0.2), y + rng.normal(0, 0.2)),
                rng.uniform(0.07, 0.2),
                int(rng.integers(1 << 31)),
                tint=(0.60, 0.56, 0.52),
                opacity=rng.uniform(0.7, 1.0),
                soft=0.02,
                gloss=0.08,
                wobble=0.35,
            )
            for _ in range(rng.integers(1, 4))
        )
    )


def scratch(board: Board, rng: np.random.Generator) -> Board:
    style = dict(depth=0.012, colour=(222, 184, 142), opacity=0.7)
    start, heading = _place(rng), rng.uniform(0, 360)
    return board.with_marks(*scratches(rng, start, heading, 0.08, (0.4, 1.0), (0.010, 0.022), **style))


def combined(board: Board, rng: np.random.Generator) -> Board:
    first, second = rng.choice(np.array([color, hole, liquid, scratch], dtype=object), 2, replace=False)
    return second(first(board, rng), rng)


PART = Part(
    name="wood",
    good=good,
    paint=paint,
    defects={"color": color, "combined": combined, "hole": hole, "liquid": liquid, "scratch": scratch},
    light=Light(towards=(-0.6, -0.3, 1.0), ambient=0.45, shininess=30, vignette=0.06),
    jitter=Jitter(shift=0.1),
)
