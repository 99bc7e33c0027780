"""leather: brown, finely pebbled grain under soft light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..marks import Blot, Line, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, mix

PEBBLE = 0.062


@dataclass(frozen=True)
class Hide(Scene):
    """`fold`: the line of a crease and how high it stands."""

    fold: tuple[tuple[tuple[float, float], ...], float] | None = None


def good(rng: np.random.Generator) -> Hide:
    return Hide(seed=int(rng.integers(1 << 31)))


def paint(hide: Hide, canvas: Canvas) -> Surface:
    u, v = hide.pose.to_part(canvas.x, canvas.y)
    valley, pebble = _grain(hide, canvas)
    creases = noise.ridged(u, v, noise.stream(hide.seed, "creases"), 5.0, 3)
    pores = noise.fractal(u, v, noise.stream(hide.seed, "pores"), 60, 2)
    cloud = noise.fractal(u, v, noise.stream(hide.seed, "cloud"), 1.2, 3)

    surface = Surface(canvas, gloss=0.07)
    surface.albedo[:] = mix(
        (70, 37, 22), (142, 82, 48), 0.40 + 0.42 * valley + 0.12 * pebble + 0.10 * cloud + 0.08 * pores
    )
    surface.height[:] = 0.014 * np.sqrt(valley) - 0.005 * np.clip(creases - 0.7, 0, 1) * 3 + 0.001 * pores
    if hide.fold:
        path, rise = hide.fold
        distance, along = shapes.polyline(u, v, path)
        tall = rise * np.sin(np.pi * np.clip(along, 0.02, 0.98)) ** 0.5
        surface.raise_by(tall * np.exp(-((distance / 0.045) ** 2)))
        surface.tint(1 - 0.35 * np.exp(-(((distance - 0.05) / 0.03) ** 2)))
    hide.draw_marks(surface, u, v)
    return surface


def _grain(hide: Hide, canvas: Canvas) -> tuple[Array, Array]:
    """(0 in the furrows to 1 on top of a pebble, a brightness for each pebble), found on every second sample."""
    x, y = hide.pose.to_part(canvas.x[:, ::2], canvas.y[::2])
    rng = noise.stream(hide.seed, "grain")
    x, y = noise.warp(x, y, rng, 6, 0.012)
    points = noise.scatter(rng, PEBBLE, 1.2)
    near, second, which = noise.cells(x, y, points)
    valley = np.clip((second - near) / (0.55 * PEBBLE), 0, 1)
    shade = rng.uniform(-1, 1, len(points)).astype(np.float32)[which]
    return tuple(ndimage.zoom(field, 2, order=1, mode="nearest", grid_mode=True) for field in (valley, shade))


def _place(rng: np.random.Generator) -> tuple[float, float]:
    x, y = rng.uniform(-0.7, 0.7, 2)
    return float(x), float(y)


def color(hide: Hide, rng: np.random.Generator) -> Hide:
    stain = [(0.45, 0.55, 0.9), (1.5, 0.6, 0.5), (0.5, 0.95, 0.6), (1.7, 1.6, 1.4)][rng.integers(4)]
    return hide.with_marks(
        Blot(
            _place(rng),
            rng.uniform(0.07, 0.16),
            int(rng.integers(1 << 31)),
            tint=stain,
            opacity=0.8,
            soft=0.03,
            wobble=0.35,
            stretch=rng.uniform(1, 1.5),
            degrees=rng.uniform(0, 180),
        )
    )


def cut(hide: Hide, rng: np.random.Generator) -> Hide:
    path = wander(rng, _place(rng), rng.uniform(0, 360), rng.uniform(0.25, 0.6), 7)
    return hide.with_marks(
        Line(
            path,
            rng.uniform(0.018, 0.032),
            int(rng.integers(1 << 31)),
            depth=0.035,
            colour=(168, 122, 92),
            opacity=0.75,
            rim=0.012,
        )
    )


def fold(hide: Hide, rng: np.random.Generator) -> Hide:
    path = wander(rng, _place(rng), rng.uniform(0, 360), rng.uniform(0.7, 1.3), 12)
    return Hide(seed=hide.seed, pose=hide.pose, exposure=hide.exposure, fold=(path, rng.uniform(0.03, 0.05)))


def glue(hide: Hide, rng: np.random.Generator) -> Hide:
    return hide.with_marks(
        Blot(
            _place(rng),
            rng.uniform(0.07, 0.14),
            int(rng.integers(1 << 31)),
            tint=(1.25, 1.28, 1.32),
            depth=-0.035,
            gloss=0.55,
            soft=0.01,
            stretch=rng.uniform(1, 1.8),
            degrees=rng.uniform(0, 180),
            wobble=0.35,
        )
    )


def poke(hide: Hide, rng: np.random.Generator) -> Hide:
    return hide.with_marks(
        *(
            Blot(
                _place(rng),
                rng.uniform(0.024, 0.045),
                int(rng.integers(1 << 31)),
                tint=(0.45, 0.42, 0.40),
                depth=0.05,
                rim=0.02,
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
