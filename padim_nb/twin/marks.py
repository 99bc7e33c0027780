"""Damage and dirt that can befall any part: lines, blots and shards, drawn on a surface in the part's coordinates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from . import noise, shapes
from .canvas import Array
from .surface import Colour, Surface, linear

Point = tuple[float, float]


class Mark(Protocol):
    """Anything that can be drawn on a surface."""

    def draw(self, surface: Surface, u: Array, v: Array, within: Array | float = 1.0) -> None:
        """Change the surface where the mark is and where `within` (0..1) allows it."""


@dataclass(frozen=True)
class Line:
    """A scratch, cut, crack, hair or thread along a chain of points.

    `depth` digs (negative: stands proud, as a thread does), `colour` covers with `opacity`, `rim` raises a burr along
    both sides, `ragged` makes the width uneven, `shadow` casts one to the lower right.
    """

    points: tuple[Point, ...]
    width: float
    seed: int
    depth: float = 0.0
    colour: Colour | None = None
    opacity: float = 1.0
    gloss: float | None = None
    rim: float = 0.0
    ragged: float = 0.3
    taper: bool = True
    shadow: float = 0.0

    def draw(self, surface: Surface, u: Array, v: Array, within: Array | float = 1.0) -> None:
        distance, along = shapes.polyline(u, v, self.points)
        half: Array = np.asarray(self.width / 2, dtype=np.float32)
        if self.taper:
            half = half * (0.25 + 0.75 * np.sqrt(np.clip(4.0 * along * (1.0 - along), 0.0, 1.0)))
        if self.ragged:
            uneven = noise.value(u, v, noise.stream(self.seed, "ragged"), 6.0 / max(self.width, 0.02) * 0.3)
            half = half * (1.0 + np.float32(self.ragged) * uneven)
        cover = surface.canvas.cover(distance - half) * within
        if self.shadow:
            away = shapes.polyline(u - self.width * 0.8, v - self.width * 0.8, self.points)[0]
            surface.tint(1.0 - self.shadow, surface.canvas.cover(away - half, self.width) * within)
        if self.colour is not None:
            surface.lay(cover * np.float32(self.opacity), self.colour)
        if self.gloss is not None:
            surface.lay(cover, gloss=self.gloss)
        if self.depth:
            profile = np.sqrt(np.clip(1.0 - (distance / np.maximum(half, 1e-5)) ** 2, 0.0, 1.0))
            surface.raise_by(-np.float32(self.depth) * profile * within)
        if self.rim:
            burr = np.exp(-(((distance - half * 1.2) / (half * 0.5 + 1e-5)) ** 2))
            surface.raise_by(np.float32(self.rim) * burr * within)


@dataclass(frozen=True)
class Blot:
    """A stain, drop, hole, dent or smear: a disc whose outline wobbles, stretched and turned.

    `colour` covers with `opacity`, `tint` multiplies (a stain keeps the texture beneath), `depth` digs a bowl
    (negative: a drop), `gloss` wets it, `soft` widens the edge, `wobble` is how far the outline strays, in radii.
    """

    centre: Point
    radius: float
    seed: int
    stretch: float = 1.0
    degrees: float = 0.0
    wobble: float = 0.25
    soft: float = 0.0
    colour: Colour | None = None
    opacity: float = 1.0
    tint: tuple[float, float, float] | None = None
    depth: float = 0.0
    gloss: float | None = None
    rim: float = 0.0
    grain: float = 0.0

    def cover(self, surface: Surface, u: Array, v: Array) -> tuple[Array, Array]:
        """(coverage 0..1, depth inside the outline as a share of the radius 0..1)."""
        angle = np.deg2rad(self.degrees)
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        du, dv = u - np.float32(self.centre[0]), v - np.float32(self.centre[1])
        x, y = (c * du + s * dv) / np.float32(self.stretch), (c * dv - s * du) * np.float32(self.stretch)
        outline = noise.fractal(x, y, noise.stream(self.seed, "outline"), 1.1 / self.radius, 3)
        distance = np.hypot(x, y) - np.float32(self.radius) * (1.0 + np.float32(self.wobble) * outline)
        return surface.canvas.cover(distance, self.soft), np.clip(-distance / np.float32(self.radius), 0.0, 1.0)

    def draw(self, surface: Surface, u: Array, v: Array, within: Array | float = 1.0) -> None:
        cover, inside = self.cover(surface, u, v)
        cover = cover * within
        if self.tint is not None:
            surface.tint(1.0 + (np.asarray(self.tint, np.float32) - 1.0) * np.float32(self.opacity), cover)
        if self.colour is not None:
            colour = linear(self.colour)
            if self.grain:
                speckle = noise.fractal(u, v, noise.stream(self.seed, "grain"), 6.0 / self.radius, 3)
                colour = colour * (1.0 + np.float32(self.grain) * speckle)[..., None]
            surface.lay(cover * np.float32(self.opacity), np.maximum(colour, 0.0))
        if self.gloss is not None:
            surface.lay(cover, gloss=self.gloss)
        if self.depth:
            bowl = np.sqrt(np.clip(1.0 - (1.0 - np.minimum(inside * 1.6, 1.0)) ** 2, 0.0, 1.0))
            surface.raise_by(-np.float32(self.depth) * bowl * cover)
        if self.rim:
            surface.raise_by(np.float32(self.rim) * np.exp(-((inside / 0.12) ** 2)) * cover)


@dataclass(frozen=True)
class Shard:
    """A splinter or chip of something hard: a polygon with its own colour, gloss and thickness."""

    points: tuple[Point, ...]
    colour: Colour
    seed: int
    thickness: float = 0.02
    gloss: float = 0.6
    glint: float = 0.0
    shadow: float = 0.4
    facets: float = field(default=0.3)

    def draw(self, surface: Surface, u: Array, v: Array, within: Array | float = 1.0) -> None:
        distance = shapes.polygon(u, v, self.points)
        cover = surface.canvas.cover(distance) * within
        if self.shadow:
            offset = np.float32(self.thickness)
            below = surface.canvas.cover(shapes.polygon(u - offset, v - offset, self.points), self.thickness * 1.5)
            surface.tint(1.0 - self.shadow, below * within)
        uneven = noise.fractal(u, v, noise.stream(self.seed, "facets"), 14.0, 2)
        colour = linear(self.colour) * np.maximum(1.0 + np.float32(self.facets) * uneven, 0.0)[..., None]
        surface.lay(cover, colour, gloss=self.gloss)
        surface.raise_by(cover * (shapes.dome(distance, self.thickness) + 0.2 * self.thickness * uneven))
        if self.glint:
            surface.shine(np.float32(self.glint) * np.clip(uneven, 0.0, 1.0) ** 2, cover)


def wander(
    rng: np.random.Generator, start: Point, degrees: float, length: float, bend: float, steps: int = 8
) -> tuple[Point, ...]:
    """A chain of points of this total length that sets off at an angle and turns by up to `bend` degrees a step."""
    heading, (x, y) = np.deg2rad(degrees), start
    points = [start]
    for _ in range(steps):
        heading += np.deg2rad(rng.uniform(-bend, bend))
        x, y = x + np.cos(heading) * length / steps, y + np.sin(heading) * length / steps
        points.append((float(x), float(y)))
    return tuple(points)


def scratches(
    rng: np.random.Generator,
    start: Point,
    heading: float,
    stray: float,
    length: tuple[float, float],
    width: tuple[float, float],
    most: int = 3,
    **style: Any,
) -> list[Line]:
    """One to `most` lines that set off near a point in nearly one direction, as one careless movement leaves them."""
    return [
        Line(
            wander(
                rng,
                (start[0] + rng.normal(0, stray), start[1] + rng.normal(0, stray)),
                heading + rng.normal(0, 8),
                rng.uniform(*length),
                bend=6,
            ),
            rng.uniform(*width),
            int(rng.integers(1 << 31)),
            **style,
        )
        for _ in range(rng.integers(1, most + 1))
    ]


def splinter(
    rng: np.random.Generator, centre: Point, length: float, width: float, corners: int = 6
) -> tuple[Point, ...]:
    """The outline of an irregular sliver about `length` by `width`, turned at random."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners)) + rng.uniform(0, 2 * np.pi)
    turn, grow = rng.uniform(0, np.pi), rng.uniform(0.7, 1.0, corners)
    x, y = np.cos(angles) * length / 2 * grow, np.sin(angles) * width / 2 * grow
    c, s = np.cos(turn), np.sin(turn)
    return tuple(
        (float(centre[0] + c * a - s * b), float(centre[1] + s * a + c * b)) for a, b in zip(x, y, strict=True)
    )
