"""wood: brown boards with vertical grain, growth rings and dark pores.

Good ones differ in tone and hue, in how close the rings stand and how they sway, in how strongly fibres and pores show,
and in small things that wood has by nature: dark flecks, pale streaks, an eye of a knot now and then.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from .. import noise
from ..canvas import Array, Canvas, Jitter
from ..draws import about_one, beta_strong, new_seed, place, triple
from ..dust import draw_near, litter, span
from ..marks import Blot, Line, scratches
from ..scene import Part, Scene
from ..surface import Light, Surface, mix

# How much good ones differ, and how strong defects are: first guesses, judged by eye. The published row moved only
# FILM, WEAKEST and the strengths inside the defects (see benchmarks/twin.py).
RINGS = (3.5, 7.0)  # growth rings a unit
TONE = 0.16  # spread of the darkness of a board
HUE = 0.035  # spread of red against blue
FLECKS = (2, 14)  # dark flecks of a board, fewest and most
KNOT = 0.12  # share of boards with an eye
FILM = (0.25, 0.55)  # how strongly the film of a liquid darkens
WEAKEST = 0.30  # strength of the faintest defect, as a share of the strongest
_strength = partial(beta_strong, faintest=WEAKEST, a=1.2, b=1.0)

REACH = 0.7  # defects lie within it of the middle, each way


@dataclass(frozen=True)
class Board(Scene):
    """`rings`: growth rings a unit; `tone`: 0 pale to 1 dark; `hue`: red against blue; `figure`: how strongly rings,
    fibres and pores show; `flecks`; `eye`: (x, y, size) of a small knot.
    """

    marks: tuple[Blot | Line, ...] = ()
    rings: float = 5.0
    tone: float = 0.5
    hue: float = 0.0
    figure: tuple[float, float, float] = (1.0, 1.0, 1.0)
    flecks: int = 6
    eye: tuple[float, float, float] | None = None


def good(rng: np.random.Generator) -> Board:
    return Board(
        seed=new_seed(rng),
        rings=float(rng.uniform(*RINGS)),
        tone=float(rng.normal(0.5, TONE)),
        hue=float(rng.normal(0, HUE)),
        figure=triple(about_one(rng, 0.25) for _ in range(3)),
        flecks=int(rng.integers(FLECKS[0], FLECKS[1] + 1)),
        eye=(*place(rng, REACH), float(rng.uniform(0.008, 0.022))) if rng.random() < KNOT else None,
    )


def paint(board: Board, canvas: Canvas) -> Surface:
    u, v = board.pose.to_part(canvas.x, canvas.y)
    sway = noise.fractal(u, v, noise.stream(board.seed, "sway"), (0.9, 0.45), 3)
    fibre = noise.fractal(u, v, noise.stream(board.seed, "fibre"), (42, 2.6), 3)
    fine = noise.fractal(u, v, noise.stream(board.seed, "fine"), (110, 6), 2)
    cloud = noise.fractal(u, v, noise.stream(board.seed, "cloud"), (2.0, 0.8), 3)
    across = u + 0.16 * sway
    if board.eye:  # rings part round a knot
        x, y, size = board.eye
        away = ((u - x) / (2.5 * size)) ** 2 + ((v - y) / (7 * size)) ** 2
        across = across + 1.2 * size * np.tanh((u - x) / size) * np.exp(-away)
    phase = board.rings * across
    ring = (phase - np.floor(phase)).astype(np.float32)
    depth = 1 + 0.4 * noise.stream(board.seed, "depth").uniform(-1, 1, 64)[np.floor(phase).astype(int) % 64]
    late = ring**3 * (1 - np.clip((ring - 0.93) / 0.07, 0, 1)) * depth.astype(np.float32)  # pale early wood darkens
    pores = np.clip((noise.fractal(u, v, noise.stream(board.seed, "pores"), (95, 5), 2) - 0.75) * 6, 0, 1)

    surface = Surface(canvas, gloss=0.03)
    rings, fibres, pitted = (np.float32(each) for each in board.figure)
    share = 0.68 - 0.16 * board.tone - 0.42 * rings * late + fibres * (0.13 * fibre + 0.10 * fine) + 0.10 * cloud
    surface.albedo[:] = mix((88, 52, 30), (196, 146, 98), share)
    surface.tint(np.array([1 + board.hue, 1, 1 - board.hue], np.float32) * np.float32(1.25 - 0.5 * board.tone))
    surface.tint(1 - 0.5 * np.minimum(pitted, 1.6) * pores)
    surface.height[:] = 0.0016 * fibre + 0.001 * fine - 0.003 * pores
    if board.eye:
        x, y, size = board.eye
        eye = Blot((x, y), size, board.seed, stretch=0.7, colour=(58, 34, 22), opacity=0.7, soft=0.02, wobble=0.4)
        draw_near(surface, u, v, eye, board.pose.to_image(x, y), 0.2)
    flecks = noise.stream(board.seed, "flecks")
    for _ in range(board.flecks):
        (x, y), dark = place(flecks, 1.0), flecks.random() < 0.6
        length = flecks.uniform(0.02, 0.14)
        fleck = Line(
            ((x, y), (x + flecks.normal(0, 0.004), y + length)),
            flecks.uniform(0.004, 0.011),
            new_seed(flecks),
            colour=(70, 40, 26) if dark else (204, 160, 116),
            opacity=flecks.uniform(0.15, 0.55),
        )
        draw_near(surface, u, v, fleck, board.pose.to_image(x, y + length / 2), length / 2 + 0.03)
    litter(surface, flecks, 3, (0.003, 0.007), (204, 176, 144), opacity=(0.1, 0.35), fibres=0.0)
    for mark in board.marks:
        _draw(board, surface, u, v, mark)
    return surface


def _draw(board: Board, surface: Surface, u: Array, v: Array, mark: Blot | Line) -> None:
    if isinstance(mark, Blot):
        at, reach = mark.centre, 2.2 * mark.radius + mark.soft
    else:
        at, half = span(mark.points)
        reach = half + 0.1
    draw_near(surface, u, v, mark, board.pose.to_image(*at), reach)


def color(board: Board, rng: np.random.Generator) -> Board:
    how, hue = _strength(rng), [(168, 44, 40), (44, 66, 140), (40, 40, 44)][rng.integers(3)]
    return board.with_marks(
        *(
            Blot(
                place(rng, REACH),
                rng.uniform(0.02, 0.035) + 0.06 * how,
                new_seed(rng),
                colour=hue,
                opacity=0.25 + 0.45 * how,
                soft=0.015,
                wobble=0.3,
            )
            for _ in range(rng.integers(1, 4))
        )
    )


def hole(board: Board, rng: np.random.Generator) -> Board:
    how, where, seed = _strength(rng), place(rng, REACH), new_seed(rng)
    radius = 0.022 + 0.05 * how
    chipped = Blot(where, radius * 1.35, seed, colour=(206, 164, 118), opacity=0.3 + 0.5 * how, wobble=0.5, soft=0.01)
    dark = Blot(
        where, radius, seed, colour=(24, 15, 10), opacity=0.55 + 0.45 * how, depth=0.06 * how, wobble=0.12, soft=0.01
    )
    return board.with_marks(chipped, dark)


def liquid(board: Board, rng: np.random.Generator) -> Board:
    """A wide film that hardly shows, with darker drops on it."""
    how, (x, y) = _strength(rng), place(rng, 0.55)
    film = Blot(
        (x, y),
        rng.uniform(0.12, 0.26),
        new_seed(rng),
        tint=(0.60, 0.56, 0.52),
        opacity=rng.uniform(*FILM),
        soft=0.05,
        stretch=rng.uniform(1, 1.5),
        degrees=rng.uniform(0, 180),
        wobble=0.4,
    )
    drops = [
        Blot(
            (x + rng.normal(0, 0.14), y + rng.normal(0, 0.14)),
            rng.uniform(0.025, 0.06) + 0.05 * how * rng.random(),
            new_seed(rng),
            tint=(0.52, 0.47, 0.42),
            opacity=0.6 + 0.4 * how,
            soft=0.012,
            gloss=0.03 + 0.08 * how,
            wobble=0.35,
        )
        for _ in range(rng.integers(1, 5))
    ]
    return board.with_marks(film, *drops)


def scratch(board: Board, rng: np.random.Generator) -> Board:
    how = _strength(rng)
    style = dict(depth=0.004 + 0.010 * how, colour=(226, 190, 150), opacity=0.5 + 0.4 * how)
    start, heading = place(rng, REACH), rng.uniform(0, 360)
    lines = scratches(rng, start, heading, 0.08, (0.25, 0.4 + 0.6 * how), (0.009, 0.013 + 0.011 * how), 4, **style)
    return board.with_marks(*lines)


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
