"""bottle: straight down on the mouth of a dark glass bottle that fills the frame, on a bright white ground.

Concentric rings of nearly black glass, a copper-coloured one that glows in places, a grainy one and a dark hole. Good
ones differ in where the rings glow, in glints, in hairs and fine scratches on the glass, and a little in place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..draws import between, new_seed
from ..marks import wander
from ..scene import Part, Region, Scene
from ..surface import Colour, Light, Surface, linear

# radius -> colour of the glass along it, from the middle outwards
PROFILE = (
    (0.000, (30, 30, 38)),
    (0.120, (21, 21, 28)),
    (0.420, (18, 17, 23)),
    (0.436, (24, 17, 24)),
    (0.447, (74, 53, 50)),
    (0.458, (30, 27, 34)),
    (0.480, (40, 45, 48)),
    (0.550, (40, 46, 49)),
    (0.580, (68, 75, 79)),
    (0.592, (47, 48, 56)),
    (0.630, (60, 61, 69)),
    (0.660, (48, 48, 56)),
    (0.676, (86, 68, 64)),
    (0.690, (58, 53, 62)),
    (0.715, (49, 49, 57)),
    (0.742, (80, 81, 89)),
    (0.756, (52, 52, 60)),
    (0.790, (60, 60, 68)),
    (0.822, (98, 99, 107)),
    (0.846, (50, 50, 58)),
    (0.866, (64, 65, 75)),
    (0.882, (104, 107, 114)),
    (0.906, (226, 229, 230)),
    (0.935, (250, 252, 251)),
    (1.500, (253, 254, 253)),
)
HOLE, GRAIN, COPPER = 0.440, 0.520, 0.680  # radii: the hole, the middle of the grainy ring, the copper ring

# What good ones differ by, and how strong damage is. Set by one published row (see the benchmark of the twin).
HAIRS = 2.5  # average number of hairs and fine scratches on a good bottle
GLOW = 0.5  # how much the brightness of the rings varies along them
LARGE, SMALL = (0.45, 1.7), (0.10, 0.28)  # half width of a break, in radians: spread evenly on a logarithmic scale
DIRT = (0.30, 1.0)  # how far contamination covers


@dataclass(frozen=True)
class Hair:
    """A fine bright or dark line on the glass."""

    path: tuple[tuple[float, float], ...]
    width: float
    colour: Colour
    much: float


@dataclass(frozen=True)
class Foreign:
    """Something in the bottle: `kind` floor, lump, film or dark; about `at`, `radius` large."""

    kind: str
    at: tuple[float, float]
    radius: float
    much: float
    seed: int


@dataclass(frozen=True)
class Neck(Scene):
    """`broken`: (angle, half width, inner and outer radius, seed) of breaks, in radians."""

    hairs: tuple[Hair, ...] = ()
    glints: tuple[tuple[float, float, float, float], ...] = ()  # (angle, radius, size, light)
    broken: tuple[tuple[float, float, float, float, int], ...] = ()
    foreign: tuple[Foreign, ...] = ()


def good(rng: np.random.Generator) -> Neck:
    hairs = []
    for _ in range(rng.poisson(HAIRS)):
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.50, 0.72)
        path = wander(
            rng,
            shapes.from_polar(radius, angle),
            np.degrees(angle) + 90 + rng.normal(0, 30),
            rng.uniform(0.04, 0.22),
            14,
            4,
        )
        colour = [(150, 150, 154), (24, 24, 32), (206, 150, 96)][rng.integers(3)]
        hairs.append(Hair(path, float(rng.uniform(0.004, 0.007)), colour, float(rng.uniform(0.3, 0.9))))
    lamps = (-0.35, 2.55, 0.9)  # where the lamps of the room are mirrored
    glints = tuple(
        (
            float(lamp + rng.normal(0, 0.16)),
            float(rng.uniform(0.60, 0.70)),
            float(rng.uniform(0.008, 0.022)),
            float(rng.uniform(0.1, 0.9)),
        )
        for lamp in lamps
        for _ in range(rng.integers(0, 3))
    )
    return Neck(seed=new_seed(rng), hairs=tuple(hairs), glints=glints)


def paint(neck: Neck, canvas: Canvas) -> Surface:
    u, v = neck.pose.to_part(canvas.x, canvas.y)
    surface = Surface(canvas)
    radius, angle = shapes.polar(u, v)
    uneven = noise.stream(neck.seed, "uneven")
    ripple = noise.fractal(u, v, uneven, 3, 3)
    c, s = u / np.maximum(radius, 0.05), v / np.maximum(radius, 0.05)
    wave = noise.value(c, s, uneven, 2.2)
    fine = noise.value(c, s, uneven, 11.0)
    within = np.clip((0.89 - radius) / 0.05, 0, 1)
    bent = radius + (0.004 * ripple + 0.003 * wave) * within
    glass = _along(bent, PROFILE)
    # the rings glow where the lamps are mirrored in them, more here and less there
    lamp = 0.5 + 0.35 * np.cos(2 * angle + 0.7) + 0.15 * np.cos(angle + 0.4)
    glass *= (1 + (0.30 * (lamp - 0.5) + 0.12 * wave) * np.clip((bent - 0.46) * 20, 0, 1) * within)[..., None]
    grain = noise.fractal(u, v, uneven, 46, 2, 0.8)
    grainy = np.exp(-(((bent - GRAIN) / 0.038) ** 2))
    glass *= (1 + 0.6 * grain * grainy)[..., None]
    off = 0.008 * np.cos(2 * angle + 1.9) + 0.006 * wave + 0.002 * fine
    copper = np.exp(-(((bent - COPPER - off) / 0.0075) ** 2)) * np.clip(lamp + GLOW * (fine + 0.5 * wave), 0, 1.6)
    glass += copper[..., None] * np.asarray((0.36, 0.16, 0.08), np.float32)
    if neck.broken:
        for each in neck.broken:
            glass = _shatter(each, u, v, radius, angle, glass)
    surface.albedo[:] = glass
    for where, reach, size, light in neck.glints:
        x, y = shapes.from_polar(reach, where)
        rows, columns = canvas.window(*neck.pose.to_image(x, y), 4 * size)
        px, py = u[:, columns] - np.float32(x), v[rows] - np.float32(y)
        cc, ss = np.cos(where), np.sin(where)
        spot = np.exp(-(((cc * px + ss * py) / (0.5 * size)) ** 2) - ((cc * py - ss * px) / (1.5 * size)) ** 2)
        surface.glow[rows, columns] += (np.float32(light) * spot)[..., None] * np.asarray((0.95, 0.8, 0.5), np.float32)
    for hair in neck.hairs:
        _draw_hair(neck, surface, hair, u, v)
    for thing in neck.foreign:
        _draw_foreign(thing, surface, u, v, radius)
    neck.draw_marks(surface, u, v)
    return surface


def _along(radius: Array, profile: tuple) -> Array:
    """Colours by radius, through a table of 2048 steps."""
    steps = np.linspace(0, 1.5, 2048)
    knots = [r for r, _ in profile]
    hues = np.stack([linear(c) for _, c in profile])
    table = np.stack([np.interp(steps, knots, hues[:, k]) for k in range(3)], -1).astype(np.float32)
    return table.take(np.clip(radius * (2047 / 1.5), 0, 2047).astype(np.int32), axis=0)


def _draw_hair(neck: Neck, surface: Surface, hair: Hair, u: Array, v: Array) -> None:
    points = np.array(hair.path)
    middle, reach = (points.min(0) + points.max(0)) / 2, np.abs(points - points.mean(0)).max() * 1.4 + 0.02
    rows, columns = surface.canvas.window(*neck.pose.to_image(*middle), float(reach))
    distance, along = shapes.polyline(u[:, columns], v[rows], hair.path)
    cover = surface.canvas.cover(distance - np.float32(hair.width / 2)) * np.float32(hair.much)
    area = surface.albedo[rows, columns]
    area += (linear(hair.colour) - area) * (cover * np.sqrt(np.clip(4 * along * (1 - along), 0, 1)))[..., None]


def _shatter(broken: tuple, u: Array, v: Array, radius: Array, angle: Array, glass: Array) -> Array:
    """Glass broken out between two radii: dark facets at all angles, bright where one mirrors a lamp."""
    where, half, inner, outer, seed = broken
    rng = noise.stream(seed, "shatter")
    jag = noise.fractal(u, v, rng, 6, 3, 0.6)
    away = np.abs(np.angle(np.exp(1j * (angle - where)))).astype(np.float32) + (0.25 * half + 0.03) * jag
    inside = np.clip((half - away) / 0.025, 0, 1) * np.clip((outer + 0.05 * jag - radius) / 0.012, 0, 1)
    inside *= np.clip((radius - inner - 0.03 * jag) / 0.012, 0, 1)
    edge = np.exp(-(((inside - 0.5) / 0.3) ** 2)) * (inside > 0.02)
    wu, wv = noise.warp(u, v, rng, 7, 0.05)
    scale = 7 if half > 0.3 else 13
    i, j = (np.floor(w * scale).astype(np.int32) % 64 for w in (wu + 0.6 * wv, wv - 0.5 * wu))
    chance = [0.30, 0.32, 0.24, 0.10, 0.04] if half > 0.3 else [0.12, 0.20, 0.28, 0.22, 0.18]
    calm: Array = np.asarray(0, np.float32)
    level = rng.choice([0.010, 0.025, 0.055, 0.13, 0.55], (64, 64), p=chance).astype(np.float32)[i, j]
    if half > 0.3:  # most of a large break is dull and out of focus
        calm = np.clip(0.9 + 1.6 * noise.fractal(u, v, rng, 2.2, 2), 0, 1)
        level += (0.026 * (1 + 0.5 * noise.fractal(u, v, rng, 5, 2)) - level) * calm
    glint = noise.ridged(wu, wv, rng, 8, 2) ** 5 * np.clip(noise.fractal(u, v, rng, 4, 2) * 2.5, 0, 1)
    facets = level * (1 + 0.5 * noise.fractal(u, v, rng, 24, 2)) + 0.75 * glint * (1 - 0.8 * calm)
    facets = np.maximum(facets, 0)[..., None] * np.asarray((1.0, 0.96, 0.92), np.float32)
    facets += np.asarray((0.004, 0.004, 0.008), np.float32)
    facets += (0.10 * edge * np.clip(jag + 0.4, 0, 1.5))[..., None]
    return glass + (facets - glass) * inside[..., None]


def _draw_foreign(thing: Foreign, surface: Surface, u: Array, v: Array, radius: Array) -> None:
    canvas, rng = surface.canvas, noise.stream(thing.seed, thing.kind)
    outline = noise.fractal(u, v, rng, 1.2 / thing.radius, 3)
    cloud = noise.fractal(u, v, rng, 5, 3)
    from_at = np.hypot(u - thing.at[0], v - thing.at[1])
    much, in_hole = np.float32(thing.much), np.clip((HOLE - 0.005 - radius) / 0.012, 0, 1)
    if thing.kind == "floor":  # light falls through the bottle's floor
        hub = np.clip((from_at - 0.14) / 0.22, 0.0, 1) * (1 + 0.35 * cloud)
        light = linear((150, 92, 44)) * (0.12 + 0.9 * np.clip(hub, 0, 1))[..., None]
        surface.lay(in_hole * much, light)
        surface.lay(canvas.cover(from_at - 0.035, 0.02) * in_hole * much, (8, 8, 10))
    elif thing.kind == "lump":
        shape = from_at - np.float32(thing.radius) * (1 + 0.7 * outline)
        cover = canvas.cover(shape, 0.02) * in_hole * much
        rim = np.exp(-((shape / 0.02) ** 2)) * in_hole * much
        surface.lay(cover * 0.8, linear((128, 108, 90)) * np.clip(0.6 + 0.6 * cloud, 0.05, 2)[..., None])
        surface.lay(rim * 0.8, (206, 190, 168))
    elif thing.kind == "film":
        cover = canvas.cover(from_at - np.float32(thing.radius) * (1 + 0.06 * outline), 0.03) * in_hole * much
        surface.lay(cover, linear((62, 66, 76)) * np.clip(0.8 + 0.7 * cloud, 0.1, 2)[..., None])
        surface.lay(canvas.cover(from_at - 0.04, 0.01) * in_hole * much, (10, 10, 14))
    else:
        cover = canvas.cover(from_at - np.float32(thing.radius) * (1 + 0.6 * outline), 0.02) * much
        surface.lay(cover, linear((22, 24, 32)) * np.clip(1 + 0.6 * cloud, 0.2, 2)[..., None])
        rim = np.exp(-(((from_at - np.float32(thing.radius) * (1 + 0.6 * outline)) / 0.010) ** 2))
        surface.lay(0.5 * rim * much, (74, 76, 86))


def _outlined(where: float, half: float, inner: float, outer: float) -> Region:
    """The whole damaged sector, as one who outlines it by hand takes in sound-looking glass between its cracks."""

    def region(u: Array, v: Array) -> Array:
        radius, angle = shapes.polar(u, v)
        away = np.abs(np.angle(np.exp(1j * (angle - where)))) - half
        return np.maximum(np.maximum(radius - outer, inner - radius), away * radius)

    return region


def broken_large(neck: Neck, rng: np.random.Generator) -> Neck:
    where, half = float(rng.uniform(-np.pi, np.pi)), between(rng, *LARGE)
    inner, outer = float(rng.uniform(0.40, 0.50)), float(rng.uniform(0.66, 0.80))
    region = _outlined(where, half + 0.12, inner - 0.04, outer + 0.05)
    return replace(neck, broken=(*neck.broken, (where, half, inner, outer, new_seed(rng))), region=region)


def broken_small(neck: Neck, rng: np.random.Generator) -> Neck:
    where, half, inner = float(rng.uniform(-np.pi, np.pi)), between(rng, *SMALL), float(rng.uniform(0.43, 0.56))
    outer = inner + float(rng.uniform(0.06, 0.16))
    region = _outlined(where, half + 0.03, inner - 0.02, outer + 0.02)
    return replace(neck, broken=(*neck.broken, (where, half, inner, outer, new_seed(rng))), region=region)


def contamination(neck: Neck, rng: np.random.Generator) -> Neck:
    kind = str(rng.choice(["floor", "lump", "film", "dark"], p=[0.25, 0.35, 0.2, 0.2]))
    reach = {"floor": 0.06, "lump": 0.24, "film": 0.08, "dark": 0.0}[kind] * np.sqrt(rng.uniform(0, 1))
    size = {"floor": (0.4, 0.41), "lump": (0.05, 0.22), "film": (0.20, 0.42), "dark": (0.05, 0.16)}[kind]
    turn = rng.uniform(0, 2 * np.pi)
    at = shapes.from_polar(rng.uniform(0.42, 0.60) if kind == "dark" else reach, turn)
    thing = Foreign(kind, at, between(rng, *size), float(rng.uniform(*DIRT)), new_seed(rng))
    fibres = []
    if kind == "lump" or rng.random() < 0.3:
        for _ in range(rng.integers(0, 4)):
            turn, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.3)
            path = wander(rng, shapes.from_polar(away, turn), rng.uniform(0, 360), rng.uniform(0.1, 0.3), 40, 6)
            fibres.append(Hair(path, float(rng.uniform(0.007, 0.013)), (172, 160, 146), thing.much))
    return replace(neck, foreign=(*neck.foreign, thing), hairs=neck.hairs + tuple(fibres))


PART = Part(
    name="bottle",
    good=good,
    paint=paint,
    defects={"broken_large": broken_large, "broken_small": broken_small, "contamination": contamination},
    light=Light(ambient=1.0, vignette=0.0),
    jitter=Jitter(shift=0.010, scale=0.006),
)
