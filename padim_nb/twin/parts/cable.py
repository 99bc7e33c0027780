"""cable: the cut face of a three-core cable; copper strands in coloured insulation inside a pale sheath."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter, Pose
from ..marks import Blot
from ..scene import Part, Scene
from ..surface import Colour, Light, Surface, linear, mix

SHEATH, WALL = 0.84, 0.085  # outer radius and thickness of the sheath
CENTRES = ((0.0, -0.400), (-0.348, 0.203), (0.348, 0.203))
CORE, COPPER, STRAND = 0.340, 0.258, 0.0345  # radii: insulation, bundle of strands, one strand
GREEN, BLUE, BROWN = (86, 138, 74), (78, 122, 176), (104, 80, 66)


@dataclass(frozen=True)
class Cable(Scene):
    """`colours` of the three cores; `missing` cores; `bare`: cores without copper; `bent`: (core, strand, dx, dy)s;
    `slit`: (core or 3 for the sheath, angle, half width) of a cut through insulation.
    """

    colours: tuple[Colour, ...] = (GREEN, BLUE, BROWN)
    missing: tuple[int, ...] = ()
    bare: tuple[tuple[int, float], ...] = ()
    bent: tuple[tuple[int, int, float, float], ...] = ()
    slits: tuple[tuple[int, float, float], ...] = ()


def good(rng: np.random.Generator) -> Cable:
    return Cable(seed=int(rng.integers(1 << 31)))


def paint(cable: Cable, canvas: Canvas) -> Surface:
    u, v = cable.pose.to_part(canvas.x, canvas.y)
    gu, gv = cable.pose.to_grain(canvas.x, canvas.y)
    surface = Surface(canvas)
    rough = noise.fractal(canvas.x, canvas.y, noise.stream(cable.seed, "ground"), 14, 4, 0.6)
    surface.albedo[:] = mix((22, 22, 25), (64, 63, 66), 0.4 + 0.4 * rough)
    surface.height[:] = 0.004 * rough
    wobble = 0.010 * noise.fractal(gu, gv, noise.stream(cable.seed, "sheath"), 2, 2)
    outside = np.hypot(u, v) - np.float32(SHEATH) + wobble
    surface.shadow(canvas.cover(outside - 0.02), 0.6, 0.05)
    _sheath(cable, surface, u, v, outside)
    for core in range(3):
        if core not in cable.missing:
            _core(cable, surface, u, v, core)
    cable.draw_marks(surface, u, v)
    return surface


def _sheath(cable: Cable, surface: Surface, u: Array, v: Array, outside: Array) -> None:
    canvas = surface.canvas
    lobes = shapes.join(outside + WALL, canvas.flat(1.0))
    ring = shapes.cut(outside, lobes)
    ring = _slit(cable, ring, u, v, 3, (0.0, 0.0))
    gu, gv = cable.pose.to_grain(canvas.x, canvas.y)
    sawn = noise.fractal(gu, gv, noise.stream(cable.seed, "sawn"), (3, 45), 3)
    filler = noise.fractal(gu, gv, noise.stream(cable.seed, "filler"), 9, 4, 0.6)
    inside = canvas.cover(lobes)
    surface.lay(inside, mix((34, 33, 34), (96, 93, 90), 0.35 + 0.45 * filler), 0.006 * filler, 0.0)
    cover = canvas.cover(ring)
    surface.lay(cover, mix((166, 166, 163), (218, 218, 214), 0.6 + 0.25 * sawn), 0.06 + 0.002 * sawn, 0.10)
    surface.tint(1 - 0.45 * np.exp(-np.clip(-(lobes) / 0.05, 0, 8)), inside * (1 - cover))


def _core(cable: Cable, surface: Surface, u: Array, v: Array, core: int) -> None:
    canvas, rng = surface.canvas, noise.stream(cable.seed, f"core{core}")
    shift = rng.normal(0, 0.006, 2)
    cx, cy = CENTRES[core][0] + shift[0], CENTRES[core][1] + shift[1]
    gu, gv = cable.pose.to_grain(canvas.x, canvas.y)
    wobble = 0.010 * noise.fractal(gu, gv, rng, 3.5, 2)
    outer = shapes.disc(u, v, (cx, cy), CORE) + wobble
    bore = shapes.disc(u, v, (cx, cy), COPPER + 0.022) + 0.7 * wobble
    wall = _slit(cable, shapes.cut(outer, bore), u, v, core, (cx, cy))
    sawn = noise.fractal(gu, gv, rng, (4, 38), 3)
    surface.shadow(canvas.cover(shapes.disc(u - 0.012, v - 0.014, (cx, cy), CORE)), 0.45, 0.02)
    surface.lay(canvas.cover(bore), (30, 24, 20), 0.0, 0.0)
    colour = linear(cable.colours[core]) * (1 + 0.16 * sawn)[..., None]
    surface.lay(canvas.cover(wall), colour, 0.075 + shapes.dome(wall, 0.02) + 0.002 * sawn, 0.16)
    _strands(cable, surface, u, v, core, (cx, cy))


def _strands(cable: Cable, surface: Surface, u: Array, v: Array, core: int, centre: tuple[float, float]) -> None:
    """A hexagonal packing of copper discs, each with its own cut angle, drawn in small windows."""
    rng = noise.stream(cable.seed, f"strands{core}")
    turn = rng.uniform(0, np.pi / 3)
    j, i = np.mgrid[-5:6, -5:6]
    x, y = (i + 0.5 * j).ravel() * 2 * STRAND * 1.03, j.ravel() * np.sqrt(3) * STRAND * 1.03
    keep = np.hypot(x, y) < COPPER - 0.6 * STRAND
    x, y = x[keep], y[keep]
    x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    jitter, facet = rng.normal(0, 0.0035, (2, x.size)), rng.normal(0, 0.5, (2, x.size))
    bright, size = rng.uniform(0.55, 1.25, x.size), rng.normal(1.0, 0.03, x.size)
    order = np.argsort(rng.uniform(0, 1, x.size))
    gone = dict(cable.bare).get(core, 0.0)
    hidden = set(order[: round(gone * x.size)].tolist())
    moved = {strand: (dx, dy) for which, strand, dx, dy in cable.bent if which == core}
    for n in range(x.size):
        if n in hidden:
            continue
        dx, dy = moved.get(n, (0.0, 0.0))
        place = (centre[0] + x[n] + jitter[0, n], centre[1] + y[n] + jitter[1, n])
        _strand(surface, cable.pose, u, v, place, STRAND * size[n], facet[:, n], bright[n], (dx, dy))


def _strand(
    surface: Surface,
    pose: Pose,
    u: Array,
    v: Array,
    place: tuple,
    radius: float,
    facet: Array,
    bright: float,
    lean: tuple,
) -> None:
    end = (place[0] + lean[0], place[1] + lean[1])
    middle = pose.to_picture((place[0] + end[0]) / 2, (place[1] + end[1]) / 2)
    window = surface.canvas.window(*middle, (radius + np.hypot(*lean) / 2) * 1.15)
    u, v = (np.broadcast_to(a, surface.height.shape)[window] for a in (u, v))
    if u.size == 0:
        return
    distance, along = shapes.segment(u, v, place, end)
    cover = surface.canvas.cover(distance - np.float32(radius))[..., None]
    tilt = 1 + (facet[0] * (u - end[0]) + facet[1] * (v - end[1])) / radius
    edge = np.clip((radius - distance) / (0.45 * radius), 0, 1)
    copper = (
        linear((188, 126, 88))
        * (bright * (0.22 + 0.78 * edge) * np.clip(tilt, 0.5, 1.6) * (1 - 0.25 * (1 - along) * bool(any(lean))))[
            ..., None
        ]
    )
    surface.albedo[window] += (copper.astype(np.float32) - surface.albedo[window]) * cover
    surface.height[window] += (0.05 + 0.02 * edge - surface.height[window]) * cover[..., 0]
    surface.gloss[window] += (0.30 - surface.gloss[window]) * cover[..., 0]


def _slit(cable: Cable, shape: Array, u: Array, v: Array, which: int, centre: tuple[float, float]) -> Array:
    for target, angle, half in cable.slits:
        if target == which:
            c, s = np.cos(angle), np.sin(angle)
            x, y = u - centre[0], v - centre[1]
            wedge = np.maximum(
                np.abs(c * y - s * x) - half * (0.75 + 0.25 * np.sin(40 * (c * x + s * y))), -(c * x + s * y)
            )
            shape = shapes.cut(shape, wedge.astype(np.float32))
    return shape


def _core_region(cores: tuple[int, ...], radius: float = CORE) -> object:
    return lambda u, v: np.minimum.reduce([shapes.disc(u, v, CENTRES[core], radius) for core in cores])


def bent_wire(cable: Cable, rng: np.random.Generator) -> Cable:
    core = int(rng.integers(3))
    heading, chosen = rng.uniform(0, 2 * np.pi), rng.choice(30, rng.integers(2, 6), replace=False)
    bends = tuple(
        (core, int(n), float(reach * np.cos(turn)), float(reach * np.sin(turn)))
        for n, reach, turn in zip(chosen, rng.uniform(0.10, 0.24, 30), heading + rng.normal(0, 0.4, 30), strict=False)
    )
    return replace(cable, bent=cable.bent + bends)


def cable_swap(cable: Cable, rng: np.random.Generator) -> Cable:
    if rng.random() < 0.5:  # two cores have changed places
        a, b = rng.choice(3, 2, replace=False)
        colours = list(cable.colours)
        colours[a], colours[b] = colours[b], colours[a]
        return replace(cable, colours=tuple(colours), region=_core_region((int(a), int(b))))
    wrong = int(rng.integers(3))  # one core is of the neighbour's colour
    colours = [
        cable.colours[(wrong + int(rng.integers(1, 3))) % 3] if core == wrong else cable.colours[core]
        for core in range(3)
    ]
    return replace(cable, colours=tuple(colours), region=_core_region((wrong,)))


def missing_cable(cable: Cable, rng: np.random.Generator) -> Cable:
    core = int(rng.integers(3))
    return replace(cable, missing=(core,), region=_core_region((core,)))


def missing_wire(cable: Cable, rng: np.random.Generator) -> Cable:
    core = int(rng.integers(3))
    return replace(cable, bare=((core, float(rng.uniform(0.7, 1.0))),), region=_core_region((core,), COPPER))


def cut_inner_insulation(cable: Cable, rng: np.random.Generator) -> Cable:
    return replace(
        cable,
        slits=(*cable.slits, (int(rng.integers(3)), float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.04, 0.11)))),
    )


def cut_outer_insulation(cable: Cable, rng: np.random.Generator) -> Cable:
    return replace(cable, slits=(*cable.slits, (3, float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.05, 0.13)))))


def poke_insulation(cable: Cable, rng: np.random.Generator) -> Cable:
    core, turn = int(rng.integers(3)), rng.uniform(0, 2 * np.pi)
    reach = (CORE + COPPER) / 2 + 0.008
    where = (float(CENTRES[core][0] + reach * np.cos(turn)), float(CENTRES[core][1] + reach * np.sin(turn)))
    return cable.with_marks(
        Blot(where, rng.uniform(0.030, 0.045), int(rng.integers(1 << 31)), colour=(16, 14, 13), depth=0.06, wobble=0.25)
    )


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
    light=Light(
        towards=(-0.5, -0.6, 1.0), ambient=0.42, shininess=18, occlusion=0.5, hollow=0.04, vignette=0.1, exposure=1.1
    ),
    jitter=Jitter(shift=0.02, degrees=4.0, scale=0.012),
)
