"""cable: the cut face of a three-core cable on a blue, mottled ground; thick coloured insulation in a pale sheath.

Copper strands end anyhow: whole bundles mirror the lamp or stay dark, lean, fray and sit off the middle. The cores lie
a little elsewhere in every cable, and the sheath carries specks, smears and an occasional fibre.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..draws import between, new_seed, triple
from ..dust import draw_near
from ..marks import Blot, Line, wander
from ..scene import Part, Region, Scene
from ..surface import Colour, Light, Surface, linear

SHEATH, LOBE, LOBE_AT = 0.850, 0.450, 0.300  # radius of the sheath; of the three lobes of its inside; where they are
CENTRES = ((0.0, -0.400), (-0.348, 0.203), (0.348, 0.203))
CORE, COPPER, STRAND = 0.328, 0.172, 0.0250  # radii: insulation, bundle of strands, one strand
GREEN, BLUE, GREY = (140, 150, 84), (66, 94, 160), (100, 96, 91)
STRIPE = (48, 128, 66)  # the second colour of the green core

# What good ones differ by, and how strong damage is. Set by one published row (see the benchmark of the twin).
STRAY = 0.024  # standard deviation of where a core lies
OFF_MIDDLE = 0.017  # of where the copper lies in its core
DYE = 0.03  # of the colour of an insulation
FRAY = 0.013  # of how far a strand leans, beside the lean of its bundle
DIRT = 4.0  # average number of dark specks and crumbs on a good cable
GAP = (0.020, 0.115)  # half width of a cut: spread evenly on a logarithmic scale
POKE = (0.017, 0.058)  # radius of a poked hole, likewise
BENT = (0.13, 0.32)  # how far a bent wire reaches, likewise


@dataclass(frozen=True)
class Core:
    """One insulated conductor: where it lies, its colour, how it is turned, and how its strands end."""

    place: tuple[float, float]
    colour: Colour
    turn: float
    copper: tuple[float, float]
    spread: float
    lean: tuple[float, float]
    mirror: float  # share of strands that mirror the lamp
    side: tuple[float, float]  # how its side is seen
    present: bool = True
    gone: float = 0.0  # share of strands that are missing
    bends: tuple[tuple[int, float, float], ...] = ()  # (strand, dx, dy)
    cuts: tuple[tuple[float, float, float], ...] = ()  # (angle, half width, how deep from outside, 0 to 1)


@dataclass(frozen=True)
class Cable(Scene):
    """`cores`: top, left, right; `slits`: (angle, half width, depth) of cuts through the sheath; `lobes`: turn of
    the sheath's inside; `shade`: where its shadow falls.
    """

    marks: tuple[Blot | Line, ...] = ()
    cores: tuple[Core, ...] = ()
    lobes: float = 0.0
    shade: tuple[float, float] = (0.0, 0.0)
    slits: tuple[tuple[float, float, float], ...] = ()
    dirt: tuple[Blot | Line, ...] = field(default=())


def _pair(rng: np.random.Generator, spread: float) -> tuple[float, float]:
    x, y = rng.normal(0, spread, 2)
    return float(x), float(y)


def good(rng: np.random.Generator) -> Cable:
    common, tilt = _pair(rng, 0.5 * STRAY), _pair(rng, 0.022)
    cores = []
    for (x, y), colour in zip(CENTRES, (GREEN, BLUE, GREY), strict=True):
        stray, lean = _pair(rng, STRAY), _pair(rng, 0.020)
        drift = rng.normal(1.0, DYE, 3) * rng.normal(1.0, 2 * DYE)
        cores.append(
            Core(
                place=(x + common[0] + stray[0], y + common[1] + stray[1]),
                colour=triple(c * d for c, d in zip(colour, drift, strict=True)),
                turn=float(rng.uniform(0, 2 * np.pi)),
                copper=_pair(rng, OFF_MIDDLE),
                spread=float(rng.uniform(0.94, 1.10)),
                lean=lean,
                mirror=float(rng.beta(0.7, 0.7)),
                side=(tilt[0] + lean[0], tilt[1] + lean[1]),
            )
        )
    dirt: list[Blot | Line] = [_speck(rng) for _ in range(rng.poisson(DIRT))]
    if rng.random() < 0.25:
        turn, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.8)
        path = wander(rng, shapes.from_polar(reach, turn), rng.uniform(0, 360), rng.uniform(0.08, 0.25), 60, 7)
        dirt.append(Line(path, 0.006, new_seed(rng), colour=(84, 92, 96), ragged=0.0, opacity=0.8))
    return Cable(
        seed=new_seed(rng),
        cores=tuple(cores),
        lobes=float(rng.normal(0, 0.05)),
        shade=(float(rng.normal(0, 0.06)), float(rng.normal(0.03, 0.05))),
        dirt=tuple(dirt),
    )


def _speck(rng: np.random.Generator) -> Blot:
    turn, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0.1, 0.68))
    hue = [(50, 56, 52), (96, 74, 48), (176, 206, 210)][rng.integers(3)]
    return Blot(
        shapes.from_polar(reach, turn),
        between(rng, 0.005, 0.014),
        new_seed(rng),
        colour=hue,
        opacity=float(rng.uniform(0.35, 0.9)),
        stretch=float(rng.uniform(1, 1.5)),
        degrees=float(rng.uniform(0, 180)),
    )


def paint(cable: Cable, canvas: Canvas) -> Surface:
    u, v = cable.pose.to_part(canvas.x, canvas.y)
    gu, gv = cable.pose.to_grain(canvas.x, canvas.y)
    surface = Surface(canvas)
    rough = noise.fractal(canvas.x, canvas.y, noise.stream(cable.seed, "ground"), 9, 4, 0.7)
    surface.albedo[:] = _between_colours((32, 54, 84), (84, 118, 148), 0.42 + 0.30 * rough)
    uneven = noise.fractal(gu, gv, noise.stream(cable.seed, "outline"), 1.6, 2)
    fine = noise.fractal(gu, gv, noise.stream(cable.seed, "fine"), 16, 3, 0.6)
    outside = np.sqrt(u * u + v * v) - np.float32(SHEATH) + 0.012 * uneven
    away = _enlarge(shapes.disc(u[1::4, 1::4], v[1::4, 1::4], cable.shade, SHEATH), canvas.samples)
    surface.tint(0.10 + 0.90 * np.clip(away / 0.16, 0, 1) ** 0.7)
    _sheath(cable, surface, u, v, outside, uneven, fine)
    for number, core in enumerate(cable.cores):
        if core.present:
            _core(cable, surface, core, number)
    for mark in (*cable.dirt, *cable.marks):
        _draw_small(cable, surface, u, v, mark)
    return surface


def _between_colours(a: Colour, b: Colour, share: Array) -> Array:
    """From one colour to another by a field of shares, in 256 steps: several times faster than in floating point."""
    table = linear(a) + (linear(b) - linear(a)) * np.linspace(0, 1, 256, dtype=np.float32)[:, None]
    return table.T.take(np.clip(share * 255, 0, 255).astype(np.uint8), axis=1).transpose(1, 2, 0)


def _enlarge(field: Array, samples: int) -> Array:
    """A smooth field known at every fourth sample, at all of them: linear in between."""
    n = len(field)
    place = np.clip((np.arange(samples) - 1) / 4, 0, n - 1)
    weight = np.maximum(1 - np.abs(place[:, None] - np.arange(n)), 0).astype(np.float32)
    return weight @ field @ weight.T


def _lobes(cable: Cable, u: Array, v: Array) -> Array:
    """The trefoil that the cores lie in."""
    angles = (-np.pi / 2 + 2 * np.pi * k / 3 + cable.lobes for k in range(3))
    lobes = (shapes.disc(u, v, shapes.from_polar(LOBE_AT, angle), LOBE) for angle in angles)
    return reduce(lambda a, b: shapes.join(a, b, 0.16), lobes)


def _sheath(cable: Cable, surface: Surface, u: Array, v: Array, outside: Array, uneven: Array, fine: Array) -> None:
    """Draw the sheath and what fills it."""
    canvas = surface.canvas
    few = u[1::4, 1::4], v[1::4, 1::4]
    lobes = _enlarge(_lobes(cable, *few), canvas.samples) + 0.022 * uneven
    smear = noise.fractal(*cable.pose.to_grain(canvas.x, canvas.y), noise.stream(cable.seed, "smear"), (3, 26), 3)
    pale = _between_colours((116, 178, 194), (196, 240, 244), 0.66 + 0.10 * fine + 0.22 * uneven)
    pits = np.clip((fine - 0.95) * 1.2, 0, 0.4)
    filler = _between_colours(
        (92, 116, 122), (162, 188, 192), 0.62 + 0.18 * smear - 1.4 * np.clip(-lobes - 0.05, 0, 0.3)
    )
    edge = np.clip(-outside / 0.05, 0, 1)
    pale *= (0.55 + 0.45 * edge - pits)[..., None]
    whole, inside = canvas.cover(outside, 0.004), canvas.cover(lobes, 0.03)
    gap = canvas.flat()
    for angle, half, depth in cable.slits:
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        along, across = c * u + s * v, c * v - s * u
        width = np.float32(half) * (0.35 + 0.65 * np.clip((along - 0.3) / 0.5, 0, 1.3)) + 0.010 * uneven
        width = np.where(along > SHEATH - depth, width, -1)
        gap = np.maximum(gap, canvas.cover(np.abs(across + 0.03 * uneven) - width, 0.004))
    surface.lay(whole, pale + (filler - pale) * inside[..., None])
    if cable.slits:
        surface.lay(whole * np.clip(gap * 4, 0, 1), (20, 30, 40))
    # the hole that each core sits in, seen as a dark rim where the core has moved away
    discs = (shapes.disc(*few, centre, CORE + 0.012) for centre in CENTRES)
    hole = reduce(lambda a, b: shapes.join(a, b, 0.03), discs)
    surface.lay(canvas.cover(_enlarge(hole, canvas.samples) + 0.01 * uneven, 0.01), (12, 13, 18))


def _draw_small(cable: Cable, surface: Surface, u: Array, v: Array, mark: Blot | Line) -> None:
    """Draw a mark in the window it fits in."""
    points = np.array(mark.points if isinstance(mark, Line) else [mark.centre])
    middle = (points.min(0) + points.max(0)) / 2
    reach = np.abs(points - middle).max() + (
        mark.width * 2 if isinstance(mark, Line) else mark.radius * mark.stretch * 2
    )
    draw_near(surface, u, v, mark, cable.pose.to_image(*middle), (float(reach) + 0.03) * cable.pose.scale)


def _core(cable: Cable, surface: Surface, core: Core, number: int) -> None:
    canvas, rng = surface.canvas, noise.stream(cable.seed, f"core{number}")
    window = canvas.window(*cable.pose.to_image(*core.place), (CORE + 0.16) * cable.pose.scale)
    small, x, y = surface.inset(window), canvas.x[:, window[1]], canvas.y[window[0]]
    (u, v), grain = cable.pose.to_part(x, y), cable.pose.to_grain(x, y)
    u, v = u - np.float32(core.place[0]), v - np.float32(core.place[1])
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    bumps = rng.normal(0, 1, (4, 2))
    outline = sum(
        np.float32(a * 0.006 / (k + 1)) * np.cos((k + 2) * angle)
        + np.float32(b * 0.006 / (k + 1)) * np.sin((k + 2) * angle)
        for k, (a, b) in enumerate(bumps)
    )
    face = radius - np.float32(CORE) + outline
    below = np.hypot(u - np.float32(core.side[0]), v - np.float32(core.side[1])) - np.float32(CORE) + outline
    small.shadow(canvas.cover(below - 0.015), 0.55, 0.03)
    for cut, half, depth in core.cuts:
        c, s = np.float32(np.cos(cut)), np.float32(np.sin(cut))
        along, across = c * u + s * v, c * v - s * u
        tooth = np.abs(across + 0.4 * half * np.sin(30 * along + 9 * cut)) - np.float32(half) * (0.5 + 1.6 * along)
        tooth = np.maximum(tooth, (CORE - depth * (CORE - COPPER)) - along)
        face, below = shapes.cut(face, tooth), shapes.cut(below, tooth + 0.012)
        small.lay(canvas.cover(np.maximum(tooth, radius - CORE - 0.01), 0.01), (14, 15, 20))
    hue = linear(core.colour)
    sawn = (5, 30) if core.turn < np.pi else (30, 5)
    smear = noise.fractal(*grain, rng, sawn, 2)
    body = np.broadcast_to(hue, (*radius.shape, 3)).copy()
    if core.colour[1] > 1.4 * core.colour[2]:  # green
        stripe = np.clip((np.cos(2 * (angle - core.turn)) - 0.80 + 0.12 * smear) * 6, 0, 1) * np.clip(
            (radius - 0.20) / 0.06, 0, 1
        )
        body += (linear(STRIPE) - body) * (0.85 * stripe)[..., None]
    small.lay(canvas.cover(below), body * 0.34)
    rim = np.clip(-face / 0.035, 0, 1)
    small.lay(canvas.cover(face, 0.004), body * (0.60 + 0.40 * rim + 0.14 * smear)[..., None])
    bore = np.hypot(u - np.float32(core.copper[0]), v - np.float32(core.copper[1])) - np.float32(COPPER * core.spread)
    small.lay(canvas.cover(bore + 1.2 * outline, 0.02), (26, 18, 16))
    _strands(small, u - np.float32(core.copper[0]), v - np.float32(core.copper[1]), core, rng)


def _strands(surface: Surface, u: Array, v: Array, core: Core, rng: np.random.Generator) -> None:
    """Short round wires that stand out of the insulation, each leaning and each mirroring the lamp or not."""
    step = float(surface.canvas.step)
    j, i = np.mgrid[-5:6, -5:6]
    pitch = 2 * STRAND * 1.02 * core.spread
    x, y = (i + 0.5 * j).ravel() * pitch, j.ravel() * np.sqrt(0.75) * pitch
    keep = np.hypot(x, y) < COPPER * core.spread - 0.5 * STRAND
    x, y = x[keep], y[keep]
    c, s = np.cos(core.turn), np.sin(core.turn)
    x, y = c * x - s * y, s * x + c * y
    count = x.size
    spots = np.stack([x, y], -1) + rng.normal(0, 0.006, (count, 2))
    patch = rng.normal(0, 0.10, 2)  # strands near one side of the bundle catch the lamp
    likely = spots @ (patch / (COPPER * 0.12)) + rng.normal(0, 0.6, count)
    mirrors = likely <= np.quantile(likely, core.mirror)
    ends = np.asarray(core.lean) + rng.normal(0, FRAY, (count, 2))
    hue, fade = rng.uniform(0, 1, count), rng.uniform(0.55, 1.15, count)
    order, missing = rng.permutation(count), rng.permutation(count)
    bends = {n % count: (dx, dy) for n, dx, dy in core.bends}
    gone = set(missing[: round(core.gone * count)].tolist())
    tone = linear((236, 226, 214))
    for n in sorted(order.tolist(), key=lambda n: (n in bends, order[n])):
        if n in gone:
            continue
        x0, y0 = spots[n]
        dx, dy = bends.get(n, ends[n])
        reach = STRAND * 1.4
        columns, rows = (
            slice(
                *(
                    int(np.clip((edge - first) / step + 0.5, 0, size))
                    for edge in (min(a, a + d) - reach, max(a, a + d) + reach)
                )
            )
            for a, d, first, size in ((x0, dx, _first(u, v)[0], u.shape[1]), (y0, dy, _first(u, v)[1], u.shape[0]))
        )
        pu, pv = u[rows, columns], v[rows, columns]
        if pu.size == 0:
            continue
        distance, along = shapes.segment(pu, pv, (x0, y0), (x0 + dx, y0 + dy))
        cover = surface.canvas.cover(distance - np.float32(STRAND))
        tip = np.hypot(pu - np.float32(x0 + dx), pv - np.float32(y0 + dy))
        end = surface.canvas.cover(tip - np.float32(0.86 * STRAND))
        copper = linear((118, 66, 46)) * np.float32(0.55 + 0.7 * hue[n])
        flank = (0.25 + 0.75 * np.clip(1.15 - distance / STRAND, 0, 1)) * (0.45 + 0.55 * along)
        light = tone * np.float32(fade[n]) if mirrors[n] else copper * np.float32(1.5)
        wire = copper * flank[..., None] if not mirrors[n] else (0.45 * copper + 0.3 * tone) * flank[..., None]
        wire = wire + (light - wire) * (end * (0.9 if mirrors[n] else 0.5))[..., None]
        rim = np.clip((STRAND - distance) / (0.30 * STRAND), 0.25, 1)
        area = surface.albedo[rows, columns]
        area += (wire * rim[..., None] - area) * cover[..., None]


def _first(u: Array, v: Array) -> tuple[float, float]:
    return float(u[0, 0]), float(v[0, 0])


def _core_region(cable: Cable, cores: tuple[int, ...], radius: float = CORE) -> Region:
    places = [cable.cores[core].place for core in cores]
    return lambda u, v: np.minimum.reduce([shapes.disc(u, v, place, radius) for place in places])


def _with_core(cable: Cable, number: int, **change: Any) -> Cable:
    cores = list(cable.cores)
    cores[number] = replace(cores[number], **change)
    return replace(cable, cores=tuple(cores))


def bent_wire(cable: Cable, rng: np.random.Generator) -> Cable:
    number = int(rng.integers(3))
    count, heading = int(between(rng, 2, 10)), rng.uniform(0, 2 * np.pi)
    reach = between(rng, *BENT)
    bends = tuple(
        (int(n), float(r * np.cos(turn)), float(r * np.sin(turn)))
        for n, r, turn in zip(
            rng.choice(37, count, replace=False),
            reach * rng.uniform(0.6, 1.2, count),
            heading + rng.normal(0, 0.6, count),
            strict=True,
        )
    )
    return _with_core(cable, number, bends=cable.cores[number].bends + bends)


def cable_swap(cable: Cable, rng: np.random.Generator) -> Cable:
    """Two cores have changed places, or a core of a neighbour's colour lies where another belongs."""
    colours = [core.colour for core in cable.cores]
    a, b = (int(n) for n in rng.choice(3, 2, replace=False))
    if rng.random() < 0.5:
        swapped = _with_core(_with_core(cable, a, colour=colours[b]), b, colour=colours[a])
        return replace(swapped, region=_core_region(cable, (a, b)))
    return replace(_with_core(cable, a, colour=colours[b]), region=_core_region(cable, (a,)))


def missing_cable(cable: Cable, rng: np.random.Generator) -> Cable:
    gone = tuple(int(n) for n in rng.permutation(3)[: rng.choice([1, 2, 3], p=[0.6, 0.15, 0.25])])
    bare = cable
    for number in gone:
        bare = _with_core(bare, number, present=False)
    return replace(bare, region=_core_region(cable, gone))


def missing_wire(cable: Cable, rng: np.random.Generator) -> Cable:
    number = int(rng.integers(3))
    core = cable.cores[number]
    centre = (core.place[0] + core.copper[0], core.place[1] + core.copper[1])
    return replace(
        _with_core(cable, number, gone=float(rng.uniform(0.65, 1.0))),
        region=lambda u, v: shapes.disc(u, v, centre, COPPER * core.spread),
    )


def cut_inner_insulation(cable: Cable, rng: np.random.Generator) -> Cable:
    number = int(rng.integers(3))
    cut = (float(rng.uniform(0, 2 * np.pi)), between(rng, *GAP), float(rng.uniform(0.5, 1.1)))
    return _with_core(cable, number, cuts=(*cable.cores[number].cuts, cut))


def cut_outer_insulation(cable: Cable, rng: np.random.Generator) -> Cable:
    slit = (float(rng.uniform(0, 2 * np.pi)), 0.6 * between(rng, *GAP), float(rng.uniform(0.06, 0.42)))
    return replace(cable, slits=(*cable.slits, slit))


def poke_insulation(cable: Cable, rng: np.random.Generator) -> Cable:
    """A needle's hole in a core's insulation or in the filler, torn at its edge."""
    turn, radius = rng.uniform(0, 2 * np.pi), between(rng, *POKE)
    if rng.random() < 0.6:
        core = cable.cores[rng.integers(3)]
        reach = (CORE + COPPER * core.spread) / 2 + 0.01
        where = (float(core.place[0] + reach * np.cos(turn)), float(core.place[1] + reach * np.sin(turn)))
    else:
        where = shapes.from_polar(0.66, turn)
    tears = [
        Line(
            wander(rng, where, rng.uniform(0, 360), radius * rng.uniform(1.5, 4.0), 40, 4),
            0.5 * radius,
            new_seed(rng),
            colour=(24, 26, 30),
            opacity=0.85,
        )
        for _ in range(rng.integers(0, 3))
    ]
    hole = Blot(
        where, radius, new_seed(rng), colour=(18, 17, 20), opacity=0.95, wobble=0.4, stretch=rng.uniform(1, 1.4)
    )
    return cable.with_marks(hole, *tears)


def combined(cable: Cable, rng: np.random.Generator) -> Cable:
    kinds = np.array([bent_wire, cut_inner_insulation, cut_outer_insulation, poke_insulation], dtype=object)
    for edit in rng.choice(kinds, 2, replace=False):
        cable = edit(cable, rng)
    return cable


PART = Part(
    name="cable",
    good=good,
    paint=paint,
    defects={
        "bent_wire": bent_wire,
        "cable_swap": cable_swap,
        "combined": combined,
        "cut_inner_insulation": cut_inner_insulation,
        "cut_outer_insulation": cut_outer_insulation,
        "missing_cable": missing_cable,
        "missing_wire": missing_wire,
        "poke_insulation": poke_insulation,
    },
    light=Light(ambient=1.0, vignette=0.12, exposure=1.0),
    jitter=Jitter(shift=0.025, degrees=5.0, scale=0.015),
)
