"""leather: brown, finely pebbled grain under soft light.

Good ones differ in tone and hue, in the size and depth of the pebbles, in how the grain runs together or stretches, in
where the hide is a little lighter or creased, and in pores, specks and small healed marks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy import ndimage

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..draws import about_one, beta_strong, new_seed, place
from ..dust import draw_near, litter, span
from ..marks import Blot, Line, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, mix

PEBBLE = 0.062  # size of a pebble

# How much good ones differ, and how strong defects are: first guesses, judged by eye. The published row moved only
# WEAKEST and the strengths inside the defects (see benchmarks/twin.py).
SIZES = 0.06  # spread of the pebbles' size from hide to hide
TONE = 0.07  # spread of the brightness
HUE = 0.02  # spread of red against blue
HEALED = 3  # small healed marks, at most
WEAKEST = 0.45  # strength of the faintest defect, as a share of the strongest
_strength = partial(beta_strong, faintest=WEAKEST, a=1.3, b=1.0)

REACH = 0.7  # defects lie within it of the middle, each way


@dataclass(frozen=True)
class Hide(Scene):
    """`pebble`: size of the grain; `deep`: how deep its furrows are; `tone`, `hue`; `healed` marks; what is wrong:
    `fold`: the line of a crease, how high it stands and how wide.
    """

    marks: tuple[Blot | Line, ...] = ()
    pebble: float = PEBBLE
    deep: float = 1.0
    tone: float = 1.0
    hue: float = 0.0
    healed: int = 0
    fold: tuple[tuple[tuple[float, float], ...], float, float] | None = None


def good(rng: np.random.Generator) -> Hide:
    return Hide(
        seed=new_seed(rng),
        pebble=float(PEBBLE * np.exp(rng.normal(0, SIZES))),
        deep=about_one(rng, 0.15),
        tone=about_one(rng, TONE),
        hue=float(rng.normal(0, HUE)),
        healed=int(rng.integers(0, HEALED + 1)),
    )


def paint(hide: Hide, canvas: Canvas) -> Surface:
    u, v = hide.pose.to_part(canvas.x, canvas.y)
    valley, pebble = _grain(hide, canvas)
    creases = noise.ridged(u, v, noise.stream(hide.seed, "creases"), 5.0, 3)
    pores = noise.fractal(u, v, noise.stream(hide.seed, "pores"), 60, 2)
    cloud = noise.fractal(u, v, noise.stream(hide.seed, "cloud"), 1.2, 3)

    surface = Surface(canvas, gloss=0.07)
    surface.albedo[:] = mix(
        (70, 37, 22), (142, 82, 48), 0.40 + 0.42 * valley + 0.12 * pebble + 0.12 * cloud + 0.08 * pores
    )
    surface.tint(np.array([1 + hide.hue, 1, 1 - hide.hue], np.float32) * np.float32(hide.tone))
    surface.height[:] = 0.014 * np.float32(hide.deep) * np.sqrt(valley) + 0.001 * pores
    surface.raise_by(-0.005 * np.clip(creases - 0.7, 0, 1) * 3)
    if hide.fold:
        path, rise, wide = hide.fold
        distance, along = shapes.polyline(u, v, path)
        tall = rise * np.sin(np.pi * np.clip(along, 0.02, 0.98)) ** 0.5
        surface.raise_by(tall * np.exp(-((distance / wide) ** 2)))
        surface.tint(1 - np.float32(8 * rise) * np.exp(-(((distance - 1.1 * wide) / (0.7 * wide)) ** 2)))
    marks = noise.stream(hide.seed, "healed")
    for _ in range(hide.healed):
        at, long = place(marks, 0.95), marks.uniform(0.03, 0.15)
        path = wander(marks, at, marks.uniform(0, 360), long, 25, 4)
        opacity, width, seed = marks.uniform(0.05, 0.25), marks.uniform(0.006, 0.014), new_seed(marks)
        healed = Line(path, width, seed, colour=(150, 96, 64), opacity=opacity, depth=0.004)
        draw_near(surface, u, v, healed, hide.pose.to_image(*at), long + 0.03)
    litter(surface, marks, 6, (0.003, 0.009), (44, 26, 18), opacity=(0.1, 0.5), fibres=0.1)
    litter(surface, marks, 4, (0.003, 0.007), (186, 150, 122), opacity=(0.1, 0.4), fibres=0.4, length=(0.03, 0.1))
    for mark in hide.marks:
        if isinstance(mark, Blot):
            at, reach = mark.centre, 2.5 * mark.radius * mark.stretch + 2 * mark.soft
        else:
            at, half = span(mark.points)
            reach = half + 0.1
        draw_near(surface, u, v, mark, hide.pose.to_image(*at), reach)
    return surface


def _grain(hide: Hide, canvas: Canvas) -> tuple[Array, Array]:
    """(0 in the furrows to 1 on top of a pebble, a brightness for each pebble), found on every second sample."""
    x, y = hide.pose.to_part(canvas.x[:, ::2], canvas.y[::2])
    rng = noise.stream(hide.seed, "grain")
    x, y = noise.warp(x, y, rng, 6, 0.012)
    points = noise.scatter(rng, hide.pebble, 1.2)
    near, second, which = noise.cells(x, y, points)
    valley = np.clip((second - near) / (0.55 * hide.pebble), 0, 1)
    shade = rng.uniform(-1, 1, len(points)).astype(np.float32)[which]
    return tuple(ndimage.zoom(field, 2, order=1, mode="nearest", grid_mode=True) for field in (valley, shade))


def color(hide: Hide, rng: np.random.Generator) -> Hide:
    how = _strength(rng)
    stain = [(0.45, 0.55, 0.9), (1.5, 0.6, 0.5), (0.5, 0.95, 0.6), (1.7, 1.6, 1.4)][rng.integers(4)]
    return hide.with_marks(
        Blot(
            place(rng, REACH),
            rng.uniform(0.03, 0.06) + 0.10 * how,
            new_seed(rng),
            tint=stain,
            opacity=0.4 + 0.45 * how,
            soft=0.03,
            wobble=0.35,
            stretch=rng.uniform(1, 1.5),
            degrees=rng.uniform(0, 180),
        )
    )


def cut(hide: Hide, rng: np.random.Generator) -> Hide:
    how = _strength(rng)
    path = wander(rng, place(rng, REACH), rng.uniform(0, 360), 0.15 + rng.uniform(0.1, 0.45) * how, 7)
    return hide.with_marks(
        Line(
            path,
            0.013 + 0.018 * how,
            new_seed(rng),
            depth=0.020 + 0.020 * how,
            colour=(168, 122, 92),
            opacity=0.55 + 0.35 * how,
            rim=0.012 * how,
        )
    )


def fold(hide: Hide, rng: np.random.Generator) -> Hide:
    how = _strength(rng)
    path = wander(rng, place(rng, REACH), rng.uniform(0, 360), rng.uniform(0.5, 1.3), 12)
    return replace(hide, fold=(path, 0.008 + 0.037 * how, float(rng.uniform(0.03, 0.05))))


def glue(hide: Hide, rng: np.random.Generator) -> Hide:
    how = _strength(rng)
    return hide.with_marks(
        Blot(
            place(rng, REACH),
            rng.uniform(0.04, 0.07) + 0.07 * how,
            new_seed(rng),
            tint=(1.25, 1.28, 1.32),
            opacity=0.3 + 0.7 * how,
            depth=-0.035 * how,
            gloss=0.02 + 0.4 * how,
            soft=0.01,
            stretch=rng.uniform(1, 1.8),
            degrees=rng.uniform(0, 180),
            wobble=0.35,
        )
    )


def poke(hide: Hide, rng: np.random.Generator) -> Hide:
    how = _strength(rng)
    return hide.with_marks(
        *(
            Blot(
                place(rng, REACH),
                0.016 + 0.026 * how * rng.uniform(0.7, 1),
                new_seed(rng),
                tint=(0.45, 0.42, 0.40),
                opacity=0.35 + 0.65 * how,
                depth=0.012 + 0.04 * how,
                rim=0.02 * how,
                wobble=0.2,
            )
            for _ in range(rng.integers(1, 3))
        )
    )


PART = Part(
    name="leather",
    good=good,
    paint=paint,
    defects={"color": color, "cut": cut, "fold": fold, "glue": glue, "poke": poke},
    light=Light(towards=(-0.6, -0.6, 1.0), ambient=0.38, shininess=12, vignette=0.10),
    jitter=Jitter(shift=0.1, scale=0.02),
)
