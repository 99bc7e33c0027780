"""transistor: a black three-legged part, close by, whose spread legs stand in a row of holes of a copper stripboard.

The board is matt pinkish copper in upright strips with dark gaps between and dark holes along each. The case is glossy
black with bands of reflected room, a moulded circle and dust. It sits a little higher or lower, turned by a degree or
two, and each leg is crimped, bent and lit in its own way. Legs miss their hole, are cut short, the case is chipped or
scraped, or the whole part stands in the wrong holes, lies turned, or is absent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter, Pose
from ..draws import how_strong, new_seed, pair, place, triple
from ..dust import draw_near
from ..marks import Blot, Line, wander
from ..scene import Part, Region, Scene
from ..surface import Light, Surface, linear, mix

# Set by the published row of one detector: how much good ones differ, and how strong defects are.
SEAT = Jitter(shift=0.05, degrees=2.4)  # how the case sits over its holes
KNEE = 0.026  # how far the bends of good legs stray
GLARE = 0.50  # how strong the reflections on the case get
SMUDGES = 8  # at most so many marks on a good board
FAINTEST, SKEW = 0.07, 1.3  # weakest strength of a defect, and how much weak ones outnumber strong ones
_strength = partial(how_strong, faintest=FAINTEST, skew=SKEW)

PITCH, HOLE, GAP = 0.446, 0.092, 0.030  # between holes, a hole's radius, half a gap between strips
CASE, TOP = (0.405, 0.40), -0.29  # half sides of the case, its middle
ROOTS, FEET, TIP, LEG = (-0.225, 0.0, 0.225), (-PITCH, 0.0, PITCH), 0.76, 0.037  # where legs leave and stand

Point = tuple[float, float]


@dataclass(frozen=True)
class Transistor(Scene):
    """`seat`: the case's pose over its holes; `knees`: how far each leg's bend strays; `glare`: reflections on the
    case; `light`: how bright the exposure is. Damage: `foot`: (leg, where its end is instead); `short`: (leg, share
    left); `chip`: (x, y, size, degrees) broken off the case; `moved`: another pose of the whole part; `absent`: none.
    """

    seat: Pose = Pose()
    knees: tuple[Point, ...] = ((0.0, 0.0),) * 3
    glare: tuple[float, float, float] = (0.2, 0.2, 0.1)
    light: float = 1.0
    foot: tuple[int, Point] | None = None
    short: tuple[int, float] | None = None
    chip: tuple[float, float, float, float] | None = None
    moved: Pose = Pose()
    absent: bool = False


def good(rng: np.random.Generator) -> Transistor:
    return Transistor(
        seed=new_seed(rng),
        seat=SEAT.draw(rng),
        knees=tuple(pair(knee) for knee in rng.normal(0, KNEE, (3, 2)).clip(-2.2 * KNEE, 2.2 * KNEE)),
        glare=triple(GLARE * rng.uniform(0, 1, 3) ** 1.6),
        light=float(rng.uniform(0.88, 1.12)),
    )


def paint(part: Transistor, canvas: Canvas) -> Surface:
    u, v = part.pose.to_part(canvas.x, canvas.y)
    gu, gv = part.pose.to_grain(canvas.x, canvas.y)
    surface = Surface(canvas)
    _board(part, surface, u, v, gu, gv)
    if not part.absent:
        turned = np.deg2rad(part.seat.degrees + part.moved.degrees)
        reach = float(CASE[0] * (abs(np.cos(turned)) + abs(np.sin(turned)))) + 0.08
        middle = part.pose.to_image(*part.moved.to_image(*part.seat.to_image(0.0, TOP)))
        window = canvas.window(*middle, reach)
        x, y = part.seat.to_part(*part.moved.to_part(*(np.broadcast_to(a, u.shape)[window] for a in (u, v))))
        body = shapes.box(x, y, (0.0, TOP), CASE, 0.02)
        surface.inset(window).tint(1 - 0.6 * np.clip(0.5 - body / 0.12, 0, 1))
        for number, path in enumerate(_legs(part)):
            _leg(part, surface, u, v, number, path)
        if body.size > 4:
            _case(part, surface.inset(window), x, y, gu[:, window[1]], gv[window[0]], body)
    part.draw_marks(surface, u, v)
    surface.tint(part.light)
    return surface


def _board(part: Transistor, surface: Surface, u: Array, v: Array, gu: Array, gv: Array) -> None:
    canvas = surface.canvas
    fibre = noise.fractal(gu, gv, noise.stream(part.seed, "fibre"), (40, 90), 2)
    cloud = noise.fractal(gu, gv, noise.stream(part.seed, "cloud"), 1.6, 4)
    surface.albedo[:] = mix((112, 76, 63), (166, 116, 98), 0.5 + 0.07 * fibre + 0.22 * cloud)
    between = (u / PITCH - 0.5) - np.rint(u / PITCH - 0.5)
    ragged = 0.004 * noise.value(gu, gv, noise.stream(part.seed, "ragged"), (4, 30))
    gap = canvas.cover(np.abs(between) * np.float32(PITCH) - np.float32(GAP) + ragged, 0.006)
    surface.lay(gap, (52, 33, 24), -0.01)
    number_x, number_y = np.rint(u / PITCH), np.rint((v - TIP) / PITCH)
    radius = np.hypot(u - number_x * np.float32(PITCH), v - np.float32(TIP) - number_y * np.float32(PITCH))
    radius = radius + 0.004 * cloud
    surface.tint(1 + 0.18 * cloud, canvas.cover(np.abs(radius - HOLE - 0.008) - 0.008, 0.006))
    surface.lay(canvas.cover(radius - HOLE, 0.022), (21, 17, 17), -0.02)
    _dirt(part, surface, u, v)


def _dirt(part: Transistor, surface: Surface, u: Array, v: Array) -> None:
    """Smudges, short hairs and bright nicks in the copper, as on any board."""
    rng = noise.stream(part.seed, "dirt")
    for _ in range(int(rng.integers(0, SMUDGES + 1))):
        at, kind = place(rng, 1.0), rng.integers(3)
        seed = new_seed(rng)
        length, strength = float(rng.uniform(0.03, 0.13)), float(rng.uniform(0.10, 0.44))
        if kind == 0:
            mark: Blot | Line = Blot(at, length * 0.5, seed, tint=(1 - strength,) * 3, soft=0.02, wobble=0.6)
        elif kind == 1:
            path = wander(rng, at, rng.uniform(0, 360), length, 50, 5)
            mark = Line(path, 0.010, seed, colour=(66, 44, 36), opacity=strength, ragged=0.6)
        else:
            path = wander(rng, at, rng.uniform(0, 360), length, 8, 3)
            mark = Line(path, 0.008, seed, colour=(226, 178, 156), opacity=strength, ragged=0.6)
        draw_near(surface, u, v, mark, part.pose.to_image(*at), length * 1.3)


def _legs(part: Transistor) -> list[list[Point]]:
    """The chain of points of each leg, on the board."""

    def on_case(x: float, y: float) -> Point:
        return part.moved.to_image(*part.seat.to_image(x, y))

    base, chains = TOP + CASE[1] - 0.02, []
    for leg, (root, foot) in enumerate(zip(ROOTS, FEET, strict=True)):
        x, y = part.knees[leg]
        end = part.moved.to_image(foot + x * 0.5, TIP)
        knee = part.moved.to_image(foot + x, TIP - 0.27 + y)
        if part.foot and part.foot[0] == leg:
            end = part.foot[1]
            knee = (0.55 * knee[0] + 0.45 * end[0], 0.75 * knee[1] + 0.25 * (end[1] - 0.27))
        chain = [on_case(root, base), on_case(root + x * 0.3, base + 0.12 + y), knee, end]
        if part.short and part.short[0] == leg:
            chain = _shortened(chain, part.short[1])
        chains.append(chain)
    return chains


def _shortened(chain: list[Point], share: float) -> list[Point]:
    points = np.array(chain)
    lengths = np.hypot(*np.diff(points, axis=0).T)
    reach = np.concatenate([[0.0], np.cumsum(lengths)])
    cut = share * reach[-1]
    left = [point for point, r in zip(chain, reach, strict=True) if r < cut]
    return [*left, pair(np.interp(cut, reach, points[:, axis]) for axis in (0, 1))]


def _leg(part: Transistor, surface: Surface, u: Array, v: Array, number: int, path: list[Point]) -> None:
    canvas, rng = surface.canvas, noise.stream(part.seed, f"leg{number}")
    points = np.array(path)
    middle = (points.min(0) + points.max(0)) / 2
    window = canvas.window(*part.pose.to_image(*middle), float(np.abs(points - middle).max()) + 0.12)
    u, v = (np.broadcast_to(a, surface.height.shape)[window] for a in (u, v))
    if u.size < 4:
        return
    inset = surface.inset(window)
    distance, _ = shapes.polyline(u, v, path)
    crimp = rng.uniform(0.10, 0.22)
    below = np.hypot(u - path[0][0], v - path[0][1])  # along the leg, in canvas units
    flat = np.exp(-(((below - crimp) / 0.045) ** 2))
    distance = distance - np.float32(LEG) * (1 + np.float32(rng.uniform(0.1, 0.4)) * flat)
    inset.tint(1 - 0.45 * np.clip(0.5 - (distance - 0.02) / 0.06, 0, 1))
    bands = noise.fractal(below, 0.5 * (u - v), noise.stream(part.seed, f"bands{number}"), (8, 9), 3, 0.75)
    edges = np.clip(-distance / LEG, 0, 1)
    bright = 0.40 + 0.62 * bands + 0.55 * (edges - 0.45) + 0.35 * flat
    far = np.clip((below - 0.30) / 0.4, 0, 1)
    metal = mix((40, 37, 36), (214, 212, 212), bright * (1 - 0.70 * far))
    metal = metal * (1 - far[..., None] * (1 - np.array([0.86, 0.62, 0.52], np.float32)))
    inset.lay(canvas.cover(distance, 0.006), metal, 0.03 + 0.5 * shapes.dome(distance, LEG), 0.02 + 0.16 * (1 - far))


def _case(part: Transistor, surface: Surface, x: Array, y: Array, gu: Array, gv: Array, body: Array) -> None:
    canvas = surface.canvas
    grain = noise.fractal(gu, gv, noise.stream(part.seed, "grain"), 46, 2)
    cloud = noise.fractal(gu, gv, noise.stream(part.seed, "haze"), (5, 2), 3)
    shape = body
    if part.chip:
        cx, cy, size, turn = part.chip
        jag = noise.fractal(x, y, noise.stream(part.seed, "jag"), 7, 3)
        angle = np.deg2rad(turn)
        c, s = np.cos(angle), np.sin(angle)
        away = np.abs(c * (x - cx) + s * (y - cy)) + np.abs(c * (y - cy) - s * (x - cx))
        away = (away - size + 0.4 * size * jag).astype(np.float32)
        shape = shapes.cut(body, away)
        scar = canvas.cover(np.maximum(body, away - 0.25 * size))
    left, right, low = part.glare
    rng = noise.stream(part.seed, "bands")
    across = x / np.float32(CASE[0])
    glare = left * np.exp(-(((across + rng.uniform(0.5, 0.7)) / rng.uniform(0.06, 0.2)) ** 2))
    glare = glare + right * np.exp(-(((across - rng.uniform(0.45, 0.7)) / rng.uniform(0.06, 0.2)) ** 2))
    ribs = rng.normal(0, 0.03, 3), rng.uniform(4, 16, 3), rng.uniform(0, 6, 3)
    glare = glare + sum(a * np.sin(k * across + p) for a, k, p in zip(*ribs, strict=True))
    glare = glare + 0.3 * low * np.exp(-(((across - rng.uniform(-0.2, 0.2)) / 0.12) ** 2))
    glare = glare * (0.8 + 0.35 * cloud) + 0.02 * grain
    blue = low * np.exp(-((across / 0.25) ** 2) - ((y - TOP - 0.30) / 0.12) ** 2)
    cover = canvas.cover(shape)
    surface.lay(cover, mix((12, 11, 13), (112, 108, 92), 0.02 + glare), 0.08, 0.0)
    surface.shine(blue[..., None] * np.array([0.01, 0.018, 0.05], np.float32), cover)
    lip = np.exp(-(((body + 0.018) / 0.010) ** 2)) * (0.25 + 0.5 * np.clip(cloud, 0, 1)) * rng.uniform(0.1, 0.5)
    surface.lay(cover * lip, (116, 104, 92))
    ring = np.abs(shapes.disc(x, y, (0.0, TOP - 0.02), 0.125)) - 0.006
    figure = shapes.text(x, y, str(rng.choice(list("1IT7"))), (0.0, TOP - 0.02), 0.12)
    moulded = np.maximum(canvas.cover(ring, 0.006), canvas.cover(figure, 0.006)) * np.clip(0.4 + cloud, 0.05, 1)
    surface.lay(cover * moulded * np.float32(rng.uniform(0.05, 0.35)), (132, 126, 118))
    for _ in range(int(rng.integers(2, 16))):  # dust and fine scratches
        at, size = (float(rng.uniform(-0.4, 0.4)), float(TOP + rng.uniform(-0.38, 0.38))), rng.uniform(0.003, 0.008)
        path = wander(rng, at, rng.uniform(0, 360), float(rng.uniform(0.005, 0.08) ** 1.2), 20, 2)
        line = Line(path, size, 1, colour=(150, 146, 140), opacity=float(rng.uniform(0.15, 0.7)), ragged=0)
        line.draw(surface, x, y, cover)
    if part.chip:
        surface.lay(scar * cover, linear((86, 82, 76)) * (1 + 0.7 * grain)[..., None], 0.06, 0.0)


def _leg_region(part: Transistor, leg: int, other: list[Point] | None = None) -> Region:
    own = _legs(replace(part, foot=None, short=None))[leg]

    def region(u: Array, v: Array) -> Array:
        found = shapes.polyline(u, v, own[1:])[0]
        if other:
            found = np.minimum(found, shapes.polyline(u, v, other[1:])[0])
        return found - np.float32(LEG * 1.2)

    return region


def bent_lead(part: Transistor, rng: np.random.Generator) -> Transistor:
    leg, far = int(rng.integers(3)), 0.08 + 0.30 * _strength(rng)
    way = rng.choice([-1, 1]) * far
    end = (float(FEET[leg] + way), float(TIP - rng.uniform(0, 0.8) * far))
    spoilt = replace(part, foot=(leg, end))
    return replace(spoilt, region=_leg_region(part, leg, _legs(spoilt)[leg]))


def cut_lead(part: Transistor, rng: np.random.Generator) -> Transistor:
    leg, left = int(rng.integers(3)), 0.92 - 0.6 * _strength(rng)
    return replace(part, short=(leg, float(left)), region=_leg_region(part, leg))


def damaged_case(part: Transistor, rng: np.random.Generator) -> Transistor:
    strength, seed = _strength(rng), new_seed(rng)
    side, end = rng.choice([-1, 1], 2)
    if rng.random() < 0.65:
        edge = float(rng.uniform(0.3, 1.0))
        along = (1.0, edge) if rng.random() < 0.5 else (edge, 1.0)
        where = (side * CASE[0] * along[0], TOP + end * CASE[1] * along[1])
        return replace(part, chip=(*pair(where), 0.05 + 0.17 * strength, float(rng.uniform(0, 90))))
    where = part.seat.to_image(float(rng.uniform(-0.28, 0.28)), float(TOP + rng.uniform(-0.28, 0.28)))
    crater = Blot(where, 0.03 + 0.10 * strength, seed, colour=(92, 88, 80), opacity=0.3 + 0.6 * strength, depth=0.02)
    stretch, degrees = float(rng.uniform(1, 1.7)), float(rng.uniform(0, 180))
    return part.with_marks(replace(crater, wobble=0.6, grain=0.8, stretch=stretch, degrees=degrees))


def _whole(part: Transistor, u: Array, v: Array) -> Array:
    """Where a part stands, marked generously: the case, its legs and all between."""
    return shapes.box(*part.seat.to_part(u, v), (0.0, 0.07), (PITCH + 0.06, 0.80), 0.03)


def misplaced(part: Transistor, rng: np.random.Generator) -> Transistor:
    """Absent, in the wrong holes but upright, or turned and pushed aside."""
    kind = rng.random()
    if kind < 0.3:
        return replace(part, absent=True, region=partial(_whole, part))
    if kind < 0.5:
        columns, rows = [(-1, 0), (1, 0), (0, -1), (1, -1), (-1, -1)][rng.integers(5)]
        away = Pose(dx=columns * PITCH, dy=rows * PITCH)
    else:
        turn, far = ((7, 20), 0.12) if kind < 0.75 else ((20, 180), 0.28)
        away = Pose(*place(rng, far), degrees=float(rng.choice([-1, 1]) * rng.uniform(*turn)))
    return replace(
        part, moved=away, region=lambda u, v: np.minimum(_whole(part, u, v), _whole(part, *away.to_part(u, v)))
    )


PART = Part(
    name="transistor",
    good=good,
    paint=paint,
    defects={"bent_lead": bent_lead, "cut_lead": cut_lead, "damaged_case": damaged_case, "misplaced": misplaced},
    light=Light(towards=(-0.3, -0.5, 1.0), ambient=0.45, shininess=14, vignette=0.22, exposure=0.95),
    jitter=Jitter(shift=0.06, degrees=0.6, scale=0.01),
    blur=0.65,
)
