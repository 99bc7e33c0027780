"""tile: polished off-white stone, thickly speckled in black, grey and ochre; no two places alike, all of one character.

Good ones differ by their speckles, by how dense and how warm these are, and by the light; defects are mostly large:
cracks across the stone, strips of clear glue, strokes of grey paint, spots of oil, places without polish.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..draws import between, new_seed, place, triple
from ..marks import Line, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, linear, mix

SPECKLES = (  # cells a unit, threshold, colour, opacity
    (22.0, 0.40, (160, 154, 146), 0.55),
    (20.0, 0.55, (186, 164, 136), 0.35),
    (19.0, 0.46, (110, 106, 102), 0.57),
    (38.0, 0.55, (96, 93, 91), 0.48),
    (42.0, 0.62, (230, 227, 221), 0.40),
)

DARK, PALE = (172, 167, 158), (212, 208, 200)  # of the stone between the speckles

# What good ones differ by, and how strong damage is. Set by one published row (see the benchmark of the twin).
DENSITY = 0.03  # standard deviation of the speckles' thresholds
WARMTH = 0.012  # of the colour of the light
CRACK = (0.010, 0.034)  # width of a crack: spread evenly on a logarithmic scale
GLUE = (0.45, 1.0)  # how far glue covers
STROKE = (0.40, 0.95)  # how far paint covers
OIL = (0.40, 1.0)  # how far oil soaks in
ROUGH = (0.47, 1.0)  # how far the polish is gone
SIZE = (0.7, 1.25)  # of all spots and strips, in their usual size


@dataclass(frozen=True)
class Spot:
    """A changed area: `kind` glue, paint, oil or rough; along `path` for strips, about its only point for spots."""

    kind: str
    path: tuple[tuple[float, float], ...]
    radius: float
    much: float
    seed: int


@dataclass(frozen=True)
class Stone(Scene):
    """`dense`: how much more speckled than usual; `warm`: colour of the light; `spots`: damage, laid on in order."""

    dense: float = 0.0
    warm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    spots: tuple[Spot, ...] = ()


def good(rng: np.random.Generator) -> Stone:
    warm = rng.normal(1.0, 0.5 * WARMTH, 3) * rng.normal(1.0, 1.5 * WARMTH)
    return Stone(seed=new_seed(rng), dense=float(rng.normal(0, DENSITY)), warm=triple(warm))


def paint(stone: Stone, canvas: Canvas) -> Surface:
    u, v = stone.pose.to_part(canvas.x, canvas.y)
    surface = Surface(canvas)
    base = noise.fractal(u, v, noise.stream(stone.seed, "base"), 10, 4, 0.7)
    share = np.clip(0.55 + 0.30 * base, 0, 1)
    planes = [dark + (pale - dark) * share for dark, pale in zip(linear(DARK), linear(PALE), strict=True)]
    for number, (cells, threshold, colour, opacity) in enumerate(SPECKLES):
        field = noise.fractal(u, v, noise.stream(stone.seed, f"speckle{number}"), cells, 3, 0.55)
        edge = threshold + stone.dense * (1 if number < 4 else -1)
        cover = np.clip((field - edge) * 5 + 0.5, 0, 1) * np.float32(opacity)
        for plane, level in zip(planes, linear(colour), strict=True):
            plane += (level - plane) * cover
    for channel, (plane, warm) in enumerate(zip(planes, stone.warm, strict=True)):
        surface.albedo[..., channel] = plane * np.float32(warm)
    for spot in stone.spots:
        _change(spot, surface, u, v)
    stone.draw_marks(surface, u, v)
    return surface


def _change(spot: Spot, surface: Surface, u: Array, v: Array) -> None:
    canvas, rng = surface.canvas, noise.stream(spot.seed, spot.kind)
    outline = noise.fractal(u, v, rng, 1.0 / spot.radius, 3)
    if len(spot.path) > 1:
        distance = shapes.polyline(u, v, spot.path)[0] - np.float32(spot.radius) * (1 + 0.14 * outline)
    else:
        distance = np.hypot(u - spot.path[0][0], v - spot.path[0][1]) - np.float32(spot.radius) * (1 + 0.30 * outline)
    much = np.float32(spot.much)
    if spot.kind == "glue":
        cover = canvas.cover(distance, 0.012)
        creases = noise.ridged(u, v, rng, 9, 2) ** 3
        bubbles = noise.fractal(u, v, rng, 24, 2)
        surface.lay(cover * much * 0.85, mix((132, 130, 122), (255, 255, 253), 0.40 + 1.0 * creases + 0.30 * bubbles))
        rim = np.exp(-((distance / 0.014) ** 2)) * much
        surface.tint(1 - 0.25 * rim)
    elif spot.kind == "paint":
        fray = noise.fractal(u, v, rng, 26, 2)
        cover = canvas.cover(distance + 0.03 * fray, 0.03) * np.clip(1.05 + 0.35 * fray, 0, 1)
        surface.lay(cover * much, mix((70, 70, 72), (132, 132, 134), 0.5 + 0.45 * fray))
    elif spot.kind == "oil":
        cover = canvas.cover(distance, 0.03) * much
        surface.lay(0.50 * cover, linear((150, 138, 112)))
        surface.tint(np.asarray((0.74, 0.68, 0.56), np.float32), 0.6 * cover)
        rim = np.exp(-(((distance + 0.02) / 0.018) ** 2)) * much
        surface.tint(1 - 0.22 * rim)
        sheen = noise.fractal(u, v, rng, 5, 2)
        surface.shine(0.06 * np.clip(sheen, 0, 1), cover)
    else:
        cover = canvas.cover(distance, 0.10) * much
        pits = noise.fractal(u, v, rng, 40, 2, 0.8)
        turn = rng.uniform(0, 2 * np.pi)
        c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        rubbed = noise.value(c * u + s * v, c * v - s * u, rng, (6, 48))
        surface.lay(0.85 * cover, mix((44, 43, 42), (250, 249, 246), 0.50 + 0.50 * pits + 0.72 * rubbed))


def _add(stone: Stone, *spots: Spot) -> Stone:
    return replace(stone, spots=stone.spots + spots)


def crack(stone: Stone, rng: np.random.Generator) -> Stone:
    def line(start: tuple[float, float], heading: float, length: float, width: float) -> Line:
        path = wander(rng, start, heading, length, 22, 11)
        opacity = float(rng.uniform(0.7, 0.95))
        return Line(path, width, new_seed(rng), depth=0.02, colour=(44, 41, 40), opacity=opacity, ragged=0.5, rim=0.006)

    heading, width = rng.uniform(0, 360), between(rng, *CRACK)
    start = (
        -0.9 * np.cos(np.deg2rad(heading)) + rng.normal(0, 0.3),
        -0.9 * np.sin(np.deg2rad(heading)) + rng.normal(0, 0.3),
    )
    trunk = line((float(start[0]), float(start[1])), heading, rng.uniform(1.2, 2.0), width)
    twigs = [
        line(
            trunk.points[rng.integers(3, 9)],
            heading + rng.choice([-1, 1]) * rng.uniform(30, 75),
            rng.uniform(0.3, 0.8),
            0.7 * width,
        )
        for _ in range(rng.integers(0, 3))
    ]
    return stone.with_marks(trunk, *twigs)


def glue_strip(stone: Stone, rng: np.random.Generator) -> Stone:
    path = wander(rng, place(rng, 0.4), rng.uniform(0, 360), rng.uniform(0.6, 1.2) * rng.uniform(*SIZE), 4, 4)
    return _add(stone, Spot("glue", path, float(rng.uniform(0.10, 0.20)), float(rng.uniform(*GLUE)), new_seed(rng)))


def gray_stroke(stone: Stone, rng: np.random.Generator) -> Stone:
    much, heading, where = float(rng.uniform(*STROKE)), rng.uniform(0, 180), np.array(place(rng, 0.5))
    strokes = []
    for _ in range(rng.integers(1, 4)):
        start = where + rng.normal(0, 0.08, 2)
        path = wander(rng, (float(start[0]), float(start[1])), heading + rng.normal(0, 8), rng.uniform(0.4, 0.9), 8, 4)
        strokes.append(Spot("paint", path, float(rng.uniform(0.06, 0.11) * rng.uniform(*SIZE)), much, new_seed(rng)))
    return _add(stone, *strokes)


def oil(stone: Stone, rng: np.random.Generator) -> Stone:
    radius = float(rng.uniform(0.24, 0.40) * rng.uniform(*SIZE))
    return _add(stone, Spot("oil", (place(rng, 0.5),), radius, float(rng.uniform(*OIL)), new_seed(rng)))


def rough(stone: Stone, rng: np.random.Generator) -> Stone:
    radius = float(rng.uniform(0.26, 0.44) * rng.uniform(*SIZE))
    return _add(stone, Spot("rough", (place(rng, 0.5),), radius, float(rng.uniform(*ROUGH)), new_seed(rng)))


PART = Part(
    name="tile",
    good=good,
    paint=paint,
    defects={"crack": crack, "glue_strip": glue_strip, "gray_stroke": gray_stroke, "oil": oil, "rough": rough},
    light=Light(towards=(-0.5, -0.6, 1.0), ambient=0.5, vignette=0.05),
    jitter=Jitter(shift=0.1),
)
