"""metal_nut: a four-lobed steel nut with a round hole, polished, turned at random on dark ground."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..marks import Blot, scratches
from ..scene import Part, Scene
from ..surface import Light, Surface, mix

OUTER, LOBE, HOLE, TILT = 0.66, 0.13, 0.27, 22.0


@dataclass(frozen=True)
class Nut(Scene):
    """`bent`: (lobe number, how far it is pushed in); `flipped`: the other face is up."""

    turn: float = 0.0
    bent: tuple[int, float] | None = None
    flipped: bool = False


def good(rng: np.random.Generator) -> Nut:
    return Nut(seed=int(rng.integers(1 << 31)), turn=float(rng.uniform(0, 360)))


def outline(nut: Nut, u: Array, v: Array) -> Array:
    """Signed distance of the nut without its hole: four lobes leaning one way."""
    radius, angle = shapes.polar(u, v)
    lean = np.deg2rad(-TILT if nut.flipped else TILT) * (radius / OUTER)
    phase = angle + lean - np.deg2rad(nut.turn)
    edge = OUTER + LOBE * np.tanh(2.2 * np.cos(4 * phase))
    if nut.bent:
        lobe, push = nut.bent
        away = np.angle(np.exp(1j * (phase - lobe * np.pi / 2))).astype(np.float32)
        edge = edge - push * np.exp(-((away / 0.33) ** 2)) * (1 + 0.6 * np.sin(7 * away))
    return (radius - edge) * np.float32(0.85)


def paint(nut: Nut, canvas: Canvas) -> Surface:
    u, v = nut.pose.to_part(canvas.x, canvas.y)
    surface = Surface(canvas, (24, 24, 27))
    grit = noise.fractal(canvas.x, canvas.y, noise.stream(nut.seed, "ground"), 30, 3)
    surface.tint(1.0 + 0.35 * grit)

    body = outline(nut, u, v)
    bore = shapes.disc(u, v, (0, 0), HOLE)
    radius, angle = shapes.polar(u, v)
    steel = shapes.cut(body, bore)
    cover = canvas.cover(steel)
    surface.shadow(canvas.cover(shapes.cut(outline(nut, u - 0.03, v - 0.04), bore)), 0.75, 0.03)

    polish = noise.stream(nut.seed, "polish")
    turn = np.deg2rad(nut.turn)
    along, across = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    brushed = noise.fractal(along.astype(np.float32), across.astype(np.float32), polish, (4, 60), 3)
    cloud = noise.fractal(u, v, polish, 2.5, 3)
    steel_colour = mix((96, 97, 100), (178, 178, 176), 0.5 + 0.3 * brushed + 0.22 * cloud)

    height = shapes.dome(steel, 0.055) * 1.1
    height += 0.02 * canvas.cover(radius - (0.40 if nut.flipped else 0.47), 0.05)  # the collar round the hole
    if nut.flipped:
        height -= 0.035 * canvas.cover(np.abs(radius - 0.53) - 0.03, 0.03)
    else:
        height += 0.012 * np.cos(4 * (angle - turn)) * canvas.cover(0.48 - radius, 0.04)
    surface.lay(cover, steel_colour, height + 0.0022 * brushed, 0.30 + 0.1 * cloud)

    mirror = np.exp(-(((np.angle(np.exp(1j * (angle * 2 - turn - 0.8)))) / 0.55) ** 2))  # a window in the polish
    surface.shine((0.10 * mirror * (1 + 0.8 * brushed)).astype(np.float32), cover)
    nut.draw_marks(surface, u, v, cover)
    return surface


def _on_steel(nut: Nut, rng: np.random.Generator) -> tuple[float, float]:
    radius, angle = rng.uniform(0.38, 0.60), rng.uniform(0, 2 * np.pi)
    return float(radius * np.cos(angle)), float(radius * np.sin(angle))


def bent(nut: Nut, rng: np.random.Generator) -> Nut:
    return replace(nut, bent=(int(rng.integers(4)), float(rng.uniform(0.08, 0.2))))


def color(nut: Nut, rng: np.random.Generator) -> Nut:
    hue = [(165, 40, 35), (40, 70, 150), (150, 120, 30), (45, 110, 60)][rng.integers(4)]
    blots = [
        Blot(
            _on_steel(nut, rng),
            rng.uniform(0.04, 0.11),
            int(rng.integers(1 << 31)),
            colour=hue,
            opacity=0.75,
            soft=0.01,
            stretch=rng.uniform(1, 1.6),
            degrees=rng.uniform(0, 180),
            wobble=0.5,
            grain=0.2,
        )
        for _ in range(rng.integers(1, 4))
    ]
    return nut.with_marks(*blots)


def flip(nut: Nut, rng: np.random.Generator) -> Nut:
    return replace(
        nut, flipped=True, region=lambda u, v: np.minimum(outline(nut, u, v), outline(replace(nut, flipped=True), u, v))
    )


def scratch(nut: Nut, rng: np.random.Generator) -> Nut:
    style = dict(depth=0.012, colour=(250, 250, 248), opacity=0.95, rim=0.006)
    start = _on_steel(nut, rng)
    heading = float(np.rad2deg(np.arctan2(start[1], start[0])) + 90 + rng.uniform(-35, 35))  # along the face
    return nut.with_marks(*scratches(rng, start, heading, 0.03, (0.35, 0.8), (0.016, 0.028), most=4, **style))


PART = Part(
    name="metal_nut",
    good=good,
    paint=paint,
    defects={"bent": bent, "color": color, "flip": flip, "scratch": scratch},
    light=Light(towards=(-0.5, -0.6, 1.0), ambient=0.4, shininess=20, occlusion=0.5, hollow=0.05),
    jitter=Jitter(shift=0.02, degrees=0.0, scale=0.015),
)
