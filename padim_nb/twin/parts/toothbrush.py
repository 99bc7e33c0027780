"""toothbrush: a brush head from above on dark ground; tufts in a fixed layout, their colours vary."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..marks import Blot, Line, wander
from ..scene import Part, Scene
from ..surface import Colour, Light, Surface, linear, mix

COLUMNS, ROWS = (-0.235, -0.08, 0.08, 0.235), np.linspace(-0.70, 0.62, 10)
TUFT = 0.082
SCHEMES: tuple[tuple[Colour, ...], ...] = (
    ((226, 226, 224), (96, 140, 196)),
    ((224, 224, 220), (196, 72, 66)),
    ((220, 222, 218), (96, 166, 104)),
    ((226, 222, 214), (206, 170, 70)),
)


@dataclass(frozen=True)
class Brush(Scene):
    """`scheme` picks the colours; `splayed`: tuft -> (dx, dy, spread) pushed out of line; `missing` tufts."""

    scheme: int = 0
    splayed: tuple[tuple[int, float, float, float], ...] = ()
    missing: tuple[int, ...] = ()


def good(rng: np.random.Generator) -> Brush:
    return Brush(seed=int(rng.integers(1 << 31)), scheme=int(rng.integers(len(SCHEMES))))


def tufts() -> list[tuple[float, float]]:
    """Where the tufts stand; the rows at both ends lack the outer two."""
    return [(x, float(y)) for r, y in enumerate(ROWS) for x in COLUMNS if abs(x) < 0.1 or 0 < r < len(ROWS) - 1]


def paint(brush: Brush, canvas: Canvas) -> Surface:
    u, v = brush.pose.to_part(canvas.x, canvas.y)
    gu, gv = brush.pose.to_grain(canvas.x, canvas.y)
    surface = Surface(canvas)
    rough = noise.fractal(canvas.x, canvas.y, noise.stream(brush.seed, "ground"), 12, 4)
    surface.albedo[:] = mix((14, 14, 17), (34, 34, 38), 0.4 + 0.4 * rough)
    head = shapes.box(u, v, (0.0, -0.04), (0.40, 0.86), 0.34)
    neck = shapes.box(u, v, (0.0, 1.0), (0.17, 0.35), 0.05)
    body = shapes.join(head, neck, 0.15)
    surface.shadow(canvas.cover(body - 0.02), 0.6, 0.05)
    plastic = noise.fractal(gu, gv, noise.stream(brush.seed, "plastic"), 3, 2)
    surface.lay(
        canvas.cover(body), mix((150, 152, 156), (208, 210, 212), 0.5 + 0.2 * plastic), shapes.dome(body, 0.10), 0.35
    )
    rng = noise.stream(brush.seed, "tufts")
    bristle = noise.fractal(gu, gv, noise.stream(brush.seed, "bristle"), 48, 2, 0.8)
    pushed = {n: (dx, dy, spread) for n, dx, dy, spread in brush.splayed}
    for number, (x, y) in enumerate(tufts()):
        shift, tone, size = rng.normal(0, 0.010, 2), rng.normal(1.0, 0.08), rng.normal(1.0, 0.04)
        seed = int(rng.integers(1 << 31))
        if number in brush.missing:
            _socket(brush, surface, u, v, (x, y))
            continue
        dx, dy, spread = pushed.get(number, (0.0, 0.0, 0.0))
        colour = linear(SCHEMES[brush.scheme][1 if abs(x) > 0.1 and number % 3 == 0 else 0]) * np.float32(tone)
        _tuft(brush, surface, u, v, (x + shift[0], y + shift[1]), (dx, dy), TUFT * size, spread, colour, bristle, seed)
    brush.draw_marks(surface, u, v)
    return surface


def _socket(brush: Brush, surface: Surface, u: Array, v: Array, place: tuple[float, float]) -> None:
    window = surface.canvas.window(*brush.pose.to_picture(*place), TUFT)
    hole = np.broadcast_to(shapes.disc(u, v, place, TUFT * 0.62), surface.height.shape)[window]
    surface.albedo[window] *= 1 - 0.75 * surface.canvas.cover(hole)[..., None]


def _tuft(
    brush: Brush,
    surface: Surface,
    u: Array,
    v: Array,
    root: tuple,
    lean: tuple,
    radius: float,
    spread: float,
    colour: Array,
    bristle: Array,
    seed: int,
) -> None:
    """A bundle of bristles: a ragged disc of bright tips, streaked along the way it leans."""
    tip = (root[0] + lean[0], root[1] + lean[1])
    middle = brush.pose.to_picture((root[0] + tip[0]) / 2, (root[1] + tip[1]) / 2)
    window = surface.canvas.window(*middle, (radius * (1.4 + spread) + np.hypot(*lean) / 2) * 1.1)
    u, v = (np.broadcast_to(a, surface.height.shape)[window] for a in (u, v))
    tips = bristle[window]
    if u.size == 0:
        return
    distance, along = shapes.segment(u, v, root, tip)
    angle = np.arctan2(v - root[1], u - root[0])
    fray = noise.value(np.cos(angle) * 3, np.sin(angle) * 3, noise.stream(seed, "fray"), 2.0)
    edge = radius * (1 + spread * along) * (1 + (0.06 + 0.35 * spread) * fray) + 0.010 * tips
    cover = surface.canvas.cover(distance - edge, 0.012)[..., None]
    inner = np.clip((edge - distance) / radius, 0, 1)
    light = (0.42 + 0.55 * np.sqrt(inner)) * (1 + 0.42 * tips)
    surface.albedo[window] *= 1 - 0.5 * surface.canvas.cover(distance - edge - 0.02, 0.05)[..., None]
    surface.albedo[window] += (colour * np.maximum(light, 0.05)[..., None] - surface.albedo[window]) * cover
    surface.height[window] += (0.12 + 0.05 * inner - surface.height[window]) * cover[..., 0]
    surface.gloss[window] *= 1 - cover[..., 0]


def defective(brush: Brush, rng: np.random.Generator) -> Brush:
    kind = rng.integers(4)
    places = tufts()
    outer = [n for n, (x, _) in enumerate(places) if abs(x) > 0.1]
    if kind == 0:  # tufts pushed outwards
        first = int(rng.choice(outer))
        side = np.sign(places[first][0])
        near = [
            n
            for n in outer
            if np.hypot(places[n][0] - places[first][0], places[n][1] - places[first][1]) < rng.uniform(0.1, 0.32)
        ]
        bent = tuple(
            (n, float(side * rng.uniform(0.09, 0.19)), float(rng.normal(0, 0.06)), float(rng.uniform(0.3, 0.8)))
            for n in near
        )
        return replace(brush, splayed=bent)
    if kind == 1:
        gone = tuple(int(n) for n in rng.choice(len(places), rng.integers(1, 3), replace=False))
        return replace(brush, missing=gone)
    if kind == 2:  # loose bristles across the head
        start = places[int(rng.integers(len(places)))]
        hairs = [
            Line(
                wander(
                    rng, (start[0] + rng.normal(0, 0.05), start[1]), rng.uniform(0, 360), rng.uniform(0.25, 0.5), 18
                ),
                0.016,
                int(rng.integers(1 << 31)),
                colour=(232, 232, 228),
                depth=-0.02,
                shadow=0.4,
            )
            for _ in range(rng.integers(2, 6))
        ]
        return brush.with_marks(*hairs)
    where = places[int(rng.integers(len(places)))]
    hue = [(60, 42, 30), (30, 60, 40), (150, 40, 36)][rng.integers(3)]
    return brush.with_marks(
        Blot(
            where,
            rng.uniform(0.06, 0.12),
            int(rng.integers(1 << 31)),
            colour=hue,
            opacity=0.85,
            soft=0.02,
            wobble=0.5,
            grain=0.4,
        )
    )


PART = Part(
    name="toothbrush",
    good=good,
    paint=paint,
    defects={"defective": defective},
    light=Light(towards=(-0.4, -0.6, 1.0), ambient=0.5, shininess=24, vignette=0.08),
    jitter=Jitter(shift=0.015, degrees=1.5, scale=0.01),
)
