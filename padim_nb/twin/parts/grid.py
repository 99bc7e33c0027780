"""grid: a dark woven wire mesh with rhombic openings over bright ground, seen in grey.

Two families of wires run over and under each other. The mesh is never quite regular: it is shifted, turned, a little
warped, single wires are darker or brighter than others, the light falls from one side, specks lie on it. Defects are
small for the most part: wires pushed out of place, a piece of wire gone, glue, a metal chip, a thread.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..draws import how_strong, new_seed, pair, place
from ..dust import draw_near, extent
from ..marks import Blot, Line, Shard, splinter, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, mix

# Set by the published row of one detector: how much good meshes differ, and how strong defects are.
WARP = 0.007  # how far the weave strays from a regular one
WIRES = 0.16  # how much brighter or darker single wires are
SLOPE = 0.22  # how much brighter one side of an image may be
SPECKS = 5  # at most so many on a good mesh
FAINTEST, SKEW = 0.18, 0.9  # weakest strength of a defect, and how much weak ones outnumber strong ones
_strength = partial(how_strong, faintest=FAINTEST, skew=SKEW)

REACH = 0.75  # defects lie within it of the middle, each way
PITCH, WIRE, LEAN = 0.205, 0.060, 0.62  # between strands, width of one, slope of the rhombus


@dataclass(frozen=True)
class Mesh(Scene):
    """`slope`: how the light falls off to the right and down; `tone`: how bright the wires are. Damage: `bend`: (x, y,
    radius, dx, dy) pulls the mesh about; `gap`: (family, strand, from, to) takes a piece out.
    """

    marks: tuple[Blot | Line | Shard, ...] = ()
    slope: tuple[float, float] = (0.0, 0.0)
    tone: float = 0.0
    bend: tuple[float, float, float, float, float] | None = None
    gap: tuple[int, int, float, float] | None = None


def good(rng: np.random.Generator) -> Mesh:
    return Mesh(
        seed=new_seed(rng),
        slope=pair(SLOPE * rng.uniform(-0.5, 0.5, 2)),
        tone=float(rng.uniform(-0.12, 0.12)),
    )


def paint(mesh: Mesh, canvas: Canvas) -> Surface:
    u, v = mesh.pose.to_part(canvas.x, canvas.y)
    gu, gv = mesh.pose.to_grain(canvas.x, canvas.y)
    surface = Surface(canvas)
    ground = noise.fractal(canvas.x, canvas.y, noise.stream(mesh.seed, "ground"), 3, 4)
    surface.albedo[:] = mix((176, 176, 176), (206, 206, 206), 0.5 + 0.25 * ground)
    wu, wv = noise.warp(gu, gv, noise.stream(mesh.seed, "warp"), 1.4, WARP)
    wu, wv = u + (wu - gu), v + (wv - gv)
    if mesh.bend:
        cx, cy, radius, dx, dy = mesh.bend
        pull = np.exp(-(((u - cx) ** 2 + (v - cy) ** 2) / radius**2))
        wu, wv = wu - dx * pull, wv - dy * pull
    strands = [_strand(mesh, wu, wv, family) for family in (0, 1)]
    cover = canvas.cover(np.minimum(strands[0][0], strands[1][0]))
    surface.shadow(cover, 0.34, 0.02)  # the mesh hangs a little above the ground
    over = strands[0][2] >= strands[1][2]
    # At every sample the wire on top, or the one that is there at all.
    first = np.where(strands[0][0] > 0, False, over | (strands[1][0] > 0))
    distance, along, lift, tone = (np.where(first, a, b) for a, b in zip(*strands, strict=True))
    wear = noise.fractal(along, distance * 8, noise.stream(mesh.seed, "wire"), 6, 3)
    metal = mix((46, 46, 47), (98, 98, 99), 0.42 + mesh.tone + tone + 0.3 * wear)
    surface.lay(cover, metal, 0.05 + shapes.dome(distance, WIRE / 2) + lift, 0.34)
    _specks(mesh, surface, u, v)
    for mark in mesh.marks:
        _draw_small(mesh, surface, mark, u, v)
    surface.tint(1 + mesh.slope[0] * canvas.x + mesh.slope[1] * canvas.y)
    return surface


def _strand(mesh: Mesh, u: Array, v: Array, family: int) -> tuple[Array, Array, Array, Array]:
    """(signed distance to the nearest wire of a family, position along it, how high it rides there, its tone)."""
    sign, long = (1.0 if family == 0 else -1.0), np.float32(np.hypot(1, LEAN))
    across, along = (u + sign * LEAN * v) / long, (v - sign * LEAN * u) / long
    other = (u - sign * LEAN * v) / long
    number = np.rint(across / PITCH)
    rng = noise.stream(mesh.seed, f"family{family}")
    tones, offsets = rng.normal(0, WIRES, 64).astype(np.float32), rng.normal(0, 0.004, 64).astype(np.float32)
    which = number.astype(np.int32) & 63
    phase = np.pi * (other / PITCH + number + (0.5 if family else -0.5) + 0.5)
    weave = np.cos(phase)
    across = across - number * PITCH + 0.004 * np.sin(phase + 0.7) + offsets[which]
    distance = np.abs(across) - np.float32(WIRE / 2) * (1.0 + 0.05 * weave)
    if mesh.gap and mesh.gap[0] == family:
        _, gone, start, end = mesh.gap
        missing = (number == gone) & (along > start) & (along < end)
        distance = np.where(missing, 0.2, distance)
    return distance.astype(np.float32), along.astype(np.float32), (0.020 * weave).astype(np.float32), tones[which]


def _specks(mesh: Mesh, surface: Surface, u: Array, v: Array) -> None:
    """Small bright or dark specks on a good mesh."""
    rng = noise.stream(mesh.seed, "specks")
    for _ in range(int(rng.integers(0, SPECKS + 1))):
        at = place(rng, 1.0)
        grey = 230 if rng.random() < 0.5 else 40
        spot = Blot(at, float(rng.uniform(0.006, 0.016)), new_seed(rng), colour=(grey,) * 3, soft=0.008)
        _draw_small(mesh, surface, replace(spot, opacity=float(rng.uniform(0.2, 0.7))), u, v)


def _draw_small(mesh: Mesh, surface: Surface, mark: Blot | Line | Shard, u: Array, v: Array) -> None:
    """Draw a mark in the window it fits in."""
    at, reach = extent(mark)
    draw_near(surface, u, v, mark, mesh.pose.to_image(*at), reach * mesh.pose.scale * 1.05)


def bent(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    strength, angle = _strength(rng), rng.uniform(0, 2 * np.pi)
    pull = 0.035 + 0.08 * strength
    return replace(mesh, bend=(*place(rng, REACH), rng.uniform(0.10, 0.20), pull * np.cos(angle), pull * np.sin(angle)))


def broken(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    start = rng.uniform(-0.6, 0.4)
    end = start + 0.05 + 0.24 * _strength(rng)
    return replace(mesh, gap=(int(rng.integers(2)), int(rng.integers(-3, 4)), float(start), float(end)))


def glue(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    strength = _strength(rng)
    drop = Blot(place(rng, REACH), 0.035 + 0.12 * strength, new_seed(rng), colour=(205, 205, 204), soft=0.02)
    drop = replace(drop, stretch=float(rng.uniform(1, 1.6)), degrees=float(rng.uniform(0, 180)))
    return mesh.with_marks(replace(drop, opacity=0.2 + 0.6 * strength, depth=-0.03, gloss=0.7))


def metal_contamination(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    strength = _strength(rng)
    length = 0.05 + 0.14 * strength
    outline = splinter(rng, place(rng, REACH), length, length * rng.uniform(0.3, 0.6))
    grey = int(rng.uniform(90, 190))
    chip = Shard(outline, (grey, grey, grey), new_seed(rng), thickness=0.01 + 0.04 * strength)
    return mesh.with_marks(replace(chip, glint=0.6 * strength, shadow=0.15 + 0.3 * strength))


def thread(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    strength = _strength(rng)
    path = wander(rng, place(rng, REACH), rng.uniform(0, 360), 0.25 + 0.7 * strength, 30, 12)
    grey = int(rng.choice([66, 66, 190]))
    line = Line(path, 0.008 + 0.011 * strength, new_seed(rng), colour=(grey, grey, grey), taper=False)
    return mesh.with_marks(replace(line, opacity=0.35 + 0.65 * strength, depth=-0.02, shadow=0.25 * strength))


PART = Part(
    name="grid",
    good=good,
    paint=paint,
    defects={
        "bent": bent,
        "broken": broken,
        "glue": glue,
        "metal_contamination": metal_contamination,
        "thread": thread,
    },
    light=Light(towards=(-0.4, -0.6, 1.0), ambient=0.5, shininess=14, vignette=0.12),
    jitter=Jitter(shift=0.06, degrees=1.6, scale=0.015),
    grey=True,
    blur=0.9,
)
