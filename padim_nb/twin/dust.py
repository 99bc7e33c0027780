"""What lies on good parts too: specks, fibres and lint, each painted only on the samples it touches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from . import shapes
from .canvas import Array
from .draws import pair, place
from .marks import Blot, Line, Mark, Shard
from .surface import Colour, Surface

F = TypeVar("F", Array, "Array | float")


def cropped(field: F, window: tuple[slice, slice]) -> F:
    """A field, or a row or column that broadcasts to one, in a window of samples."""
    if not isinstance(field, np.ndarray) or field.ndim < 2:
        return field
    rows, columns = (axis if length > 1 else slice(None) for axis, length in zip(window, field.shape[:2], strict=True))
    return field[rows, columns]


def extent(mark: Blot | Line | Shard) -> tuple[tuple[float, float], float]:
    """The middle of a mark, and how far it reaches from there."""
    if isinstance(mark, Blot):
        return mark.centre, mark.radius * mark.stretch * (1.2 + 1.5 * mark.wobble) + mark.soft
    points = np.array(mark.points)
    middle = (points.min(0) + points.max(0)) / 2
    around = 3 * (mark.width if isinstance(mark, Line) else mark.thickness)
    return (float(middle[0]), float(middle[1])), float(np.abs(points - middle).max()) + around


def span(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], float]:
    """The middle of the box round a chain of points, and half of its longer side."""
    low, high = np.min(points, 0), np.max(points, 0)
    return pair((low + high) / 2), float(np.max(high - low)) / 2


def draw_near(
    surface: Surface,
    u: Array,
    v: Array,
    mark: Mark,
    at: tuple[float, float],
    reach: float,
    within: Array | float = 1.0,
    corner: tuple[int, int] = (0, 0),
) -> None:
    """Draw a mark, given in the coordinates (u, v), only within `reach` of a point of the canvas.

    `corner`: the first row and column of the surface, where it is itself a window of the canvas.
    """
    rows, columns = (
        slice(max(axis.start - first, 0), max(axis.stop - first, 0))
        for axis, first in zip(surface.canvas.window(*at, reach), corner, strict=True)
    )
    window = rows, columns
    part = surface.inset(window)
    if part.height.size:
        mark.draw(part, cropped(u, window), cropped(v, window), cropped(within, window))


def specks(
    surface: Surface,
    rng: np.random.Generator,
    count: int,
    size: tuple[float, float],
    opacity: tuple[float, float],
    colour: Colour,
) -> None:
    """Lay `count` round specks anywhere on the canvas, each at most 0.02 in radius."""
    canvas = surface.canvas
    for _ in range(count):
        at, radius, strength = place(rng, 1.0), rng.uniform(*size), rng.uniform(*opacity)
        window = canvas.window(*at, 0.03)
        spot = canvas.cover(shapes.disc(canvas.x[:, window[1]], canvas.y[window[0]], at, radius), 0.006)
        if spot.size:
            surface.inset(window).lay(spot * np.float32(strength), colour)


def litter(
    surface: Surface,
    rng: np.random.Generator,
    count: int,
    size: tuple[float, float],
    colour: Colour,
    *,
    opacity: tuple[float, float] = (0.3, 0.9),
    fibres: float = 0.3,
    length: tuple[float, float] = (0.05, 0.2),
    area: tuple[float, float, float, float] = (-1.0, -1.0, 1.0, 1.0),
    within: Array | float = 1.0,
) -> None:
    """Lay `count` pieces of dust in a box of the canvas (left, top, right, bottom): specks, and a share of fibres."""
    canvas = surface.canvas
    for _ in range(count):
        centre = rng.uniform(area[0], area[2]), rng.uniform(area[1], area[3])
        radius, cover = float(np.exp(rng.uniform(*np.log(size)))), rng.uniform(*opacity)
        turn, bend = rng.uniform(0, 2 * np.pi), rng.uniform(-1.2, 1.2)
        fibre, long = rng.random() < fibres, rng.uniform(*length)
        window = canvas.window(*centre, (long / 2 if fibre else 2.2 * radius) + 2 * radius + 0.02)
        part = surface.inset(window)
        if not part.height.size:
            continue
        x, y = canvas.x[:, window[1]] - np.float32(centre[0]), canvas.y[window[0]] - np.float32(centre[1])
        if fibre:
            angles = turn + bend * np.linspace(-1, 1, 5)
            steps = np.stack([np.cos(angles), np.sin(angles)], -1) * long / 5
            path = np.cumsum(np.vstack([np.zeros(2), steps]), 0) - steps.sum(0) / 2
            distance = shapes.polyline(x, y, [tuple(p) for p in path.tolist()])[0] - np.float32(0.55 * radius)
        else:
            c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
            distance = np.hypot((c * x + s * y) / np.float32(1 + abs(bend)), c * y - s * x) - np.float32(radius)
        part.lay(canvas.cover(distance, radius * 0.5) * np.float32(cover) * cropped(within, window), colour)
