"""pill: a white oblong tablet with red-brown specks, a score line and embossed letters, on black ground."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..marks import Blot, Line, Shard, scratches, splinter, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, mix

HALF, RADIUS = 0.37, 0.395


@dataclass(frozen=True)
class Pill(Scene):
    """`chip`: (angle round the rim, size) of a piece broken off; `letters`: what is embossed left and right of the
    score; `other`: a tablet of another kind (0 none).
    """

    chip: tuple[float, float] | None = None
    letters: tuple[str, str] = ("F", "F")
    worn: float = 0.0
    other: int = 0


def good(rng: np.random.Generator) -> Pill:
    return Pill(seed=int(rng.integers(1 << 31)))


def outline(pill: Pill, u: Array, v: Array) -> Array:
    """Signed distance of the tablet seen from above."""
    if pill.other == 2:
        return shapes.disc(u, v, (0, 0), 0.56)
    return shapes.segment(u, v, (-HALF, 0), (HALF, 0))[0] - np.float32(RADIUS)


def paint(pill: Pill, canvas: Canvas) -> Surface:
    u, v = pill.pose.to_part(canvas.x, canvas.y)
    gu, gv = pill.pose.to_grain(canvas.x, canvas.y)
    surface = Surface(canvas, (10, 10, 11))
    dust = noise.fractal(canvas.x, canvas.y, noise.stream(pill.seed, "ground"), 20, 3)
    surface.tint(1 + 0.4 * dust)
    edge = outline(pill, u, v) + 0.004 * noise.fractal(gu, gv, noise.stream(pill.seed, "edge"), 5, 3)
    scar = None
    if pill.chip:
        angle, size = pill.chip
        far = (HALF + RADIUS) * 0.98
        place = (
            float(np.clip(far * np.cos(angle), -HALF, HALF) + RADIUS * np.cos(angle) * (abs(np.cos(angle)) > 0.5)),
            float(RADIUS * np.sin(angle)),
        )
        jag = noise.fractal(gu, gv, noise.stream(pill.seed, "jag"), 9, 3)
        bite = shapes.disc(u, v, place, size) + 0.035 * jag
        scar = canvas.cover(np.maximum(edge, bite - 0.05))
        edge = shapes.cut(edge, bite)
    cover = canvas.cover(edge)
    powder = noise.fractal(gu, gv, noise.stream(pill.seed, "powder"), 26, 4, 0.6)
    cloud = noise.fractal(gu, gv, noise.stream(pill.seed, "cloud"), 2.5, 3)
    pale, bright = ((196, 192, 186), (230, 228, 222)) if pill.other != 1 else ((196, 168, 84), (226, 204, 128))
    surface.lay(
        cover,
        mix(pale, bright, 0.6 + 0.22 * powder + 0.16 * cloud),
        0.8 * shapes.dome(edge, 0.20) + 0.0016 * powder,
        0.03,
    )
    if not pill.other:
        _specks(pill, surface, u, v, cover)
    _emboss(pill, surface, u, v, cover)
    if scar is not None:
        surface.lay(scar * cover, mix((150, 142, 132), (206, 198, 186), 0.5 + 0.4 * powder))
        surface.raise_by(0.012 * powder * scar)
    pill.draw_marks(surface, u, v, cover)
    return surface


def _specks(pill: Pill, surface: Surface, u: Array, v: Array, within: Array) -> None:
    rng = noise.stream(pill.seed, "specks")
    count = int(rng.integers(14, 30))
    for _ in range(count):
        place, size = (rng.uniform(-0.72, 0.72), rng.uniform(-0.36, 0.36)), rng.uniform(0.010, 0.026)
        hue, opacity = rng.uniform(0, 1), rng.uniform(0.35, 0.85)
        window = surface.canvas.window(*pill.pose.to_picture(*place), size * 2)
        x, y = (np.broadcast_to(a, within.shape)[window] for a in (u, v))
        if x.size:
            spot = surface.canvas.cover(shapes.disc(x, y, place, size), 0.012) * within[window] * np.float32(opacity)
            colour = mix((150, 58, 44), (96, 62, 50), np.float32(hue) * np.ones_like(spot))
            surface.albedo[window] += (colour - surface.albedo[window]) * spot[..., None]


def _emboss(pill: Pill, surface: Surface, u: Array, v: Array, within: Array) -> None:
    score = np.abs(u + 0 * v) - 0.012
    surface.raise_by(-0.035 * np.exp(-((np.maximum(score, 0) / 0.015) ** 2)) * within * (0.75 if pill.other else 1.0))
    gu, gv = pill.pose.to_grain(surface.canvas.x, surface.canvas.y)
    patch = noise.fractal(gu, gv, noise.stream(pill.seed, "wear"), 7, 3)
    for letter, x in zip(pill.letters, (-0.30, 0.30), strict=True):
        if letter:
            pressed = np.clip(-shapes.text(u, v, letter, (x, 0.0), 0.30) / 0.018 + 0.5, 0, 1)
            keep = np.clip(1 - pill.worn * (1 + 2.2 * patch), 0, 1)
            surface.raise_by(-0.026 * pressed * keep * within)
            surface.tint(1 - 0.10 * pressed * keep, within)


def _on_tablet(rng: np.random.Generator) -> tuple[float, float]:
    return float(rng.uniform(-0.55, 0.55)), float(rng.uniform(-0.27, 0.27))


def color(pill: Pill, rng: np.random.Generator) -> Pill:
    hue = [(1.0, 0.72, 0.66), (1.0, 0.94, 0.62), (0.74, 0.80, 0.98), (0.80, 0.62, 0.56)][rng.integers(4)]
    return pill.with_marks(
        Blot(
            _on_tablet(rng),
            rng.uniform(0.06, 0.16),
            int(rng.integers(1 << 31)),
            tint=hue,
            opacity=rng.uniform(0.6, 1.0),
            soft=0.05,
            wobble=0.4,
        )
    )


def contamination(pill: Pill, rng: np.random.Generator) -> Pill:
    if rng.random() < 0.5:
        grain = splinter(rng, _on_tablet(rng), rng.uniform(0.06, 0.14), rng.uniform(0.03, 0.06))
        return pill.with_marks(
            Shard(grain, (52, 46, 42), int(rng.integers(1 << 31)), thickness=0.02, gloss=0.1, shadow=0.3)
        )
    return pill.with_marks(
        Line(
            wander(rng, _on_tablet(rng), rng.uniform(0, 360), rng.uniform(0.15, 0.35), 40),
            0.014,
            int(rng.integers(1 << 31)),
            colour=(64, 56, 52),
            shadow=0.2,
        )
    )


def crack(pill: Pill, rng: np.random.Generator) -> Pill:
    if rng.random() < 0.5:
        return replace(pill, chip=(float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.07, 0.15))))
    side = rng.choice([-1, 1])
    path = wander(
        rng,
        (float(rng.uniform(-0.4, 0.4)), float(side * 0.39)),
        -side * 90 + rng.uniform(-30, 30),
        rng.uniform(0.25, 0.6),
        28,
        10,
    )
    return pill.with_marks(
        Line(
            path,
            rng.uniform(0.012, 0.02),
            int(rng.integers(1 << 31)),
            colour=(70, 64, 60),
            opacity=0.85,
            depth=0.03,
            ragged=0.6,
        )
    )


def faulty_imprint(pill: Pill, rng: np.random.Generator) -> Pill:
    if rng.random() < 0.4:
        left = rng.random() < 0.5
        return replace(pill, letters=("", "F") if left else ("F", ""), region=None)
    if rng.random() < 0.5:
        return replace(pill, worn=float(rng.uniform(0.8, 1.1)))
    return replace(pill, letters=("F", "P") if rng.random() < 0.5 else ("E", "F"))


def pill_type(pill: Pill, rng: np.random.Generator) -> Pill:
    other = replace(pill, other=int(rng.integers(1, 3)))
    return replace(other, region=lambda u, v: np.minimum(outline(pill, u, v), outline(other, u, v)))


def scratch(pill: Pill, rng: np.random.Generator) -> Pill:
    style = dict(depth=0.012, colour=(150, 146, 142), opacity=0.6)
    start, heading = _on_tablet(rng), rng.uniform(0, 360)
    return pill.with_marks(*scratches(rng, start, heading, 0.04, (0.2, 0.45), (0.012, 0.02), **style))


def combined(pill: Pill, rng: np.random.Generator) -> Pill:
    for edit in rng.choice(np.array([color, contamination, crack, scratch], dtype=object), 2, replace=False):
        pill = edit(pill, rng)
    return pill


PART = Part(
    name="pill",
    good=good,
    paint=paint,
    defects={
        "color": color,
        "combined": combined,
        "contamination": contamination,
        "crack": crack,
        "faulty_imprint": faulty_imprint,
        "pill_type": pill_type,
        "scratch": scratch,
    },
    light=Light(towards=(-0.5, -0.6, 1.0), ambient=0.48, shininess=16, vignette=0.06),
    jitter=Jitter(shift=0.012, degrees=1.0, scale=0.006),
)
