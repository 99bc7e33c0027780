"""transistor: a black part whose three legs stand in a row of holes of a brown perforated board."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter, Pose
from ..scene import Part, Scene
from ..surface import Light, Surface, linear, mix

PITCH, HOLE, RING = 0.225, 0.052, 0.084  # between holes, radius of a hole, of its copper ring
CASE, TOP = (0.335, 0.30), -0.28  # half sides of the case, its middle
LEGS, TIP, LEG = (-0.225, 0.0, 0.225), 0.62, 0.034  # where the legs stand, how far down they reach, half width


@dataclass(frozen=True)
class Transistor(Scene):
    """`bent`: (leg, how far to the side); `short`: (leg, share that is left); `chip`: corner and size of a piece broken
    off the case; `moved`: another pose of the part on the board; `absent`: no part at all.
    """

    bent: tuple[tuple[int, float], ...] = ()
    short: tuple[tuple[int, float], ...] = ()
    chip: tuple[float, float, float, float] | None = None
    moved: Pose = Pose()
    absent: bool = False


def good(rng: np.random.Generator) -> Transistor:
    return Transistor(
        seed=int(rng.integers(1 << 31)),
        moved=Pose(degrees=float(rng.uniform(-1.2, 1.2)), dx=float(rng.uniform(-0.008, 0.008))),
    )


def paint(part: Transistor, canvas: Canvas) -> Surface:
    u, v = part.pose.to_part(canvas.x, canvas.y)
    surface = Surface(canvas)
    _board(part, surface, u, v)
    if not part.absent:
        x, y = part.moved.to_part(u, v)
        _legs(part, surface, x, y)
        _case(part, surface, x, y)
    part.draw_marks(surface, u, v)
    return surface


def _board(part: Transistor, surface: Surface, u: Array, v: Array) -> None:
    canvas = surface.canvas
    gu, gv = part.pose.to_grain(canvas.x, canvas.y)
    fibre = noise.fractal(gu, gv, noise.stream(part.seed, "fibre"), (26, 60), 3)
    cloud = noise.fractal(gu, gv, noise.stream(part.seed, "cloud"), 2, 3)
    surface.albedo[:] = mix((112, 66, 38), (176, 116, 70), 0.5 + 0.14 * fibre + 0.2 * cloud)
    number_x, number_y = np.rint(u / PITCH), np.rint((v - TIP) / PITCH)
    radius = np.hypot(u - number_x * PITCH, v - TIP - number_y * PITCH)
    worn = noise.fractal(gu, gv, noise.stream(part.seed, "copper"), 9, 3)
    ring = np.abs(radius - (RING + HOLE) / 2) - (RING - HOLE) / 2
    surface.lay(canvas.cover(ring), mix((150, 100, 62), (226, 182, 132), 0.55 + 0.4 * worn), 0.006, 0.35)
    surface.lay(canvas.cover(radius - HOLE), (20, 12, 9), -0.03, 0.0)


def _legs(part: Transistor, surface: Surface, x: Array, y: Array) -> None:
    canvas, base = surface.canvas, TOP + CASE[1] - 0.02
    gu, gv = part.pose.to_grain(canvas.x, canvas.y)
    tin = noise.fractal(gu, gv, noise.stream(part.seed, "tin"), (30, 4), 3)
    for leg, foot in enumerate(LEGS):
        aside, left = dict(part.bent).get(leg, 0.0), dict(part.short).get(leg, 1.0)
        reach = base + (TIP + 0.01 - base) * left
        joint = (foot * 0.72, base + 0.16)
        end = (foot + aside * left, reach)
        path = [(foot * 0.72, base), joint, (foot + aside * 0.25, min(base + 0.32, reach)), end]
        distance = shapes.polyline(x, y, [p for p in path if p[1] <= reach + 1e-6])[0] - np.float32(LEG)
        wide = shapes.box(x, y, (foot * 0.72, base + 0.07), (LEG * 1.5, 0.08))
        shape = np.minimum(distance, wide)
        surface.shadow(canvas.cover(shape + 0.0), 0.35, 0.025)
        metal = mix((108, 106, 104), (214, 212, 208), 0.55 + 0.35 * tin)
        surface.lay(canvas.cover(shape), metal, 0.04 + shapes.dome(shape, LEG), 0.5)


def _case(part: Transistor, surface: Surface, x: Array, y: Array) -> None:
    canvas = surface.canvas
    body = shapes.box(x, y, (0.0, TOP), CASE, 0.03)
    if part.chip:
        cx, cy, size, turn = part.chip
        jag = noise.fractal(x, y, noise.stream(part.seed, "jag"), 7, 3)
        angle = np.deg2rad(turn)
        away = np.abs(np.cos(angle) * (x - cx) + np.sin(angle) * (y - cy)) + np.abs(
            np.cos(angle) * (y - cy) - np.sin(angle) * (x - cx)
        )
        body_cut = shapes.cut(body, (away - size + 0.05 * jag).astype(np.float32))
        scar = canvas.cover(np.maximum(body, away - size - 0.035 + 0.05 * jag))
    surface.shadow(canvas.cover(shapes.box(x - 0.025, y - 0.03, (0.0, TOP), CASE, 0.03)), 0.6, 0.04)
    gu, gv = part.pose.to_grain(canvas.x, canvas.y)
    grain = noise.fractal(gu, gv, noise.stream(part.seed, "grain"), 50, 2)
    shape = body_cut if part.chip else body
    rise = 0.09 * np.clip((y - TOP + CASE[1]) / 0.10, 0, 1) * np.clip((CASE[0] - np.abs(x)) / 0.05, 0, 1)
    surface.lay(
        canvas.cover(shape), mix((26, 26, 28), (56, 56, 58), 0.4 + 0.22 * grain), 0.1 + rise + 0.0012 * grain, 0.14
    )
    if part.chip:
        surface.lay(scar * canvas.cover(shape), linear((104, 102, 100)) * (1 + 0.5 * grain)[..., None], 0.08, 0.0)
    bore = shapes.disc(x, y, (0.0, TOP - 0.13), 0.05)
    surface.lay(canvas.cover(np.abs(bore) - 0.008), (20, 20, 22))
    ink = noise.fractal(gu, gv, noise.stream(part.seed, "ink"), 14, 3)
    for words, at, tall in (("D882", (0.0, TOP + 0.03), 0.085), ("P 47", (0.0, TOP + 0.155), 0.065)):
        cover = canvas.cover(shapes.text(x, y, words, at, tall)) * canvas.cover(shape)
        surface.lay(cover * np.clip(0.55 + 0.3 * ink, 0, 1), (150, 150, 148))


def _leg_region(part: Transistor, leg: int, aside: float = 0.0) -> object:
    def region(u: Array, v: Array) -> Array:
        x, y = part.moved.to_part(u, v)
        straight = shapes.segment(x, y, (LEGS[leg] * 0.8, TOP + CASE[1] + 0.12), (LEGS[leg], TIP))[0]
        leaning = shapes.segment(x, y, (LEGS[leg] * 0.8, TOP + CASE[1] + 0.12), (LEGS[leg] + aside, TIP))[0]
        return np.minimum(straight, leaning) - np.float32(LEG * 1.3)

    return region


def bent_lead(part: Transistor, rng: np.random.Generator) -> Transistor:
    leg, aside = int(rng.integers(3)), float(rng.choice([-1, 1]) * rng.uniform(0.10, 0.22))
    return replace(part, bent=((leg, aside),), region=_leg_region(part, leg, aside))


def cut_lead(part: Transistor, rng: np.random.Generator) -> Transistor:
    leg = int(rng.integers(3))
    return replace(part, short=((leg, float(rng.uniform(0.3, 0.7))),), region=_leg_region(part, leg))


def damaged_case(part: Transistor, rng: np.random.Generator) -> Transistor:
    side, end = rng.choice([-1, 1], 2)
    where = (float(side * CASE[0] * rng.uniform(0.85, 1.0)), float(TOP + end * CASE[1] * rng.uniform(0.8, 1.0)))
    return replace(part, chip=(*where, float(rng.uniform(0.10, 0.2)), float(rng.uniform(0, 90))))


def misplaced(part: Transistor, rng: np.random.Generator) -> Transistor:
    def case_and_legs(u: Array, v: Array) -> Array:
        return np.minimum(shapes.box(u, v, (0.0, TOP), CASE, 0.03), shapes.box(u, v, (0.0, TOP + 0.55), (0.28, 0.37)))

    if rng.random() < 0.3:
        return replace(part, absent=True, region=case_and_legs)
    turn = float(rng.choice([rng.uniform(25, 70), rng.uniform(110, 250), rng.uniform(-70, -25)]))
    away = Pose(dx=float(rng.uniform(-0.25, 0.25)), dy=float(rng.uniform(-0.2, 0.3)), degrees=turn)
    return replace(
        part, moved=away, region=lambda u, v: np.minimum(case_and_legs(u, v), case_and_legs(*away.to_part(u, v)))
    )


PART = Part(
    name="transistor",
    good=good,
    paint=paint,
    defects={"bent_lead": bent_lead, "cut_lead": cut_lead, "damaged_case": damaged_case, "misplaced": misplaced},
    light=Light(towards=(-0.45, -0.6, 1.0), ambient=0.42, shininess=18, occlusion=0.3, vignette=0.1, exposure=1.05),
    jitter=Jitter(shift=0.012, degrees=0.6, scale=0.006),
)
