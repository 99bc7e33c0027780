"""carpet: grey-beige woven loops that fill the frame, lighter and darker yarns in turn, under even light.

Good ones differ in hue, in how the weave is drawn, in single yarns, in lint that lies on it and in the light.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import noise
from ..canvas import Canvas, Jitter
from ..draws import between, new_seed, place, triple
from ..marks import Blot, Line, Shard, splinter, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, linear

PERIOD = 0.078  # side of a loop's diamond
REACH = 0.7  # how far from the middle damage lies
DARK, PALE = (78, 74, 72), (176, 169, 160)

# What good ones differ by, and how strong damage is. Set by one published row (see the benchmark of the twin).
DRAWN = 0.007  # how far the weave is drawn out of shape
LINT = 1.0  # average number of short pale fibres on a good carpet
STAIN, FAINT = (0.12, 0.30), (0.45, 1.0)  # radius of a stain, evenly on a logarithmic scale; how far it covers
CUT = (0.015, 0.060)  # width of a cut, likewise
HOLE = (0.060, 0.160)  # radius of a hole, likewise
METAL = (0.08, 0.32)  # length of a splinter, likewise
GLINT = (0.2, 0.9)  # how much light a splinter mirrors
THREAD = (0.011, 0.030)  # width of a thread


@dataclass(frozen=True)
class Carpet(Scene):
    """`hue`: colour of the light and the dye; `lint`: (x, y, length, heading) of fibres."""

    hue: tuple[float, float, float] = (1.0, 1.0, 1.0)
    lint: tuple[tuple[float, float, float, float], ...] = ()


def good(rng: np.random.Generator) -> Carpet:
    warm = rng.normal(0, 0.02)
    hue = np.array([1 + warm, 1.0, 1 - warm]) * rng.normal(1, 0.025)
    lint = tuple(
        (
            float(rng.uniform(-1, 1)),
            float(rng.uniform(-1, 1)),
            float(rng.uniform(0.03, 0.09)),
            float(rng.uniform(0, np.pi)),
        )
        for _ in range(rng.poisson(LINT))
    )
    return Carpet(seed=new_seed(rng), hue=triple(hue), lint=lint)


def paint(carpet: Carpet, canvas: Canvas) -> Surface:
    u, v = carpet.pose.to_part(canvas.x, canvas.y)
    bend = noise.stream(carpet.seed, "bend")
    wu = u + np.float32(DRAWN) * noise.fractal(u, v, bend, 2.5, 2)
    wv = v + np.float32(DRAWN) * noise.fractal(u, v, bend, 2.5, 2)
    a, b = (wu + 0.8 * wv) / np.float32(PERIOD), (wu - 0.8 * wv) / np.float32(PERIOD)
    wave = np.sin(np.pi * a) * np.sin(np.pi * b)
    loop = np.sqrt(np.abs(wave))
    i, j = np.floor(a).astype(np.int32), np.floor(b).astype(np.int32)
    yarn = noise.stream(carpet.seed, "yarn").uniform(-1, 1, (128, 128)).astype(np.float32)[i & 127, j & 127]
    fibre = noise.fractal(u, v, noise.stream(carpet.seed, "fibre"), (70, 45), 2)
    cloud = noise.fractal(u, v, noise.stream(carpet.seed, "cloud"), 1.5, 2)
    strands = 0.95 + 0.05 * np.sin(6 * np.pi * (a - i) + np.pi * yarn)
    share = 0.54 + 0.13 * yarn + 0.20 * fibre + 0.06 * cloud - 0.16 * np.sign(wave)
    share = np.clip(share, 0, 1) * (0.30 + 0.70 * loop) * strands
    surface = Surface(canvas)
    table = (
        linear(DARK) * 0.45 + (linear(PALE) - linear(DARK) * 0.45) * np.linspace(0, 1, 256, dtype=np.float32)[:, None]
    )
    surface.albedo[:] = (table * np.asarray(carpet.hue, np.float32)).take((share * 255).astype(np.uint8), axis=0)
    surface.height[:] = 0.014 * loop + 0.0035 * fibre
    for x, y, length, heading in carpet.lint:
        rows, columns = canvas.window(*carpet.pose.to_image(x, y), 0.6 * length)
        along = np.cos(heading) * (u[:, columns] - x) + np.sin(heading) * (v[rows] - y)
        across = np.cos(heading) * (v[rows] - y) - np.sin(heading) * (u[:, columns] - x) + 2.5 * (along**2 / length)
        cover = canvas.cover(np.maximum(np.abs(across) - 0.003, np.abs(along) - length / 2))
        area = surface.albedo[rows, columns]
        area += (linear((196, 192, 186)) - area) * (0.7 * cover)[..., None]
    carpet.draw_marks(surface, u, v)
    return surface


def color(carpet: Carpet, rng: np.random.Generator) -> Carpet:
    stain = [(0.95, 0.42, 0.42), (0.48, 0.62, 1.0), (0.55, 0.86, 0.52), (0.40, 0.36, 0.36)][rng.integers(4)]
    return carpet.with_marks(
        Blot(
            place(rng, REACH),
            between(rng, *STAIN),
            new_seed(rng),
            tint=stain,
            opacity=rng.uniform(*FAINT),
            soft=0.05,
            stretch=rng.uniform(1, 1.5),
            degrees=rng.uniform(0, 180),
            wobble=0.3,
        )
    )


def cut(carpet: Carpet, rng: np.random.Generator) -> Carpet:
    path = wander(rng, place(rng, REACH), rng.uniform(0, 360), rng.uniform(0.2, 0.65), 9)
    return carpet.with_marks(
        Line(
            path,
            between(rng, *CUT),
            new_seed(rng),
            depth=0.05,
            colour=(42, 38, 38),
            opacity=0.85,
            rim=0.014,
            ragged=0.5,
        )
    )


def hole(carpet: Carpet, rng: np.random.Generator) -> Carpet:
    where, radius, seed = place(rng, REACH), between(rng, *HOLE), new_seed(rng)
    torn = Blot(where, radius * 1.35, seed, tint=(0.72, 0.70, 0.68), soft=0.05, wobble=0.4, depth=-0.02)
    return carpet.with_marks(
        torn, Blot(where, radius, seed, colour=(34, 30, 29), wobble=0.35, depth=0.08, grain=0.5, soft=0.012)
    )


def metal_contamination(carpet: Carpet, rng: np.random.Generator) -> Carpet:
    outline = splinter(rng, place(rng, REACH), between(rng, *METAL), rng.uniform(0.03, 0.08))
    return carpet.with_marks(
        Shard(outline, (168, 170, 172), new_seed(rng), thickness=0.02, glint=rng.uniform(*GLINT), shadow=0.3)
    )


def thread(carpet: Carpet, rng: np.random.Generator) -> Carpet:
    hue = [(196, 192, 186), (52, 50, 58), (120, 44, 46), (66, 84, 130)][rng.integers(4)]
    path = wander(rng, place(rng, REACH), rng.uniform(0, 360), rng.uniform(0.5, 1.4), 38, 14)
    return carpet.with_marks(
        Line(
            path,
            rng.uniform(*THREAD),
            new_seed(rng),
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
