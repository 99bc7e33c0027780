"""grid: a dark woven wire mesh with rhombic openings over bright ground, seen in grey."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..marks import Blot, Line, Shard, splinter, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, mix

PITCH, WIRE, LEAN = 0.205, 0.060, 0.62  # between strands, width of one, slope of the rhombus


@dataclass(frozen=True)
class Mesh(Scene):
    """`bend`: (x, y, radius, dx, dy) pulls the mesh about; `gap`: (family, strand, from, to) takes a piece out."""

    bend: tuple[float, float, float, float, float] | None = None
    gap: tuple[int, int, float, float] | None = None


def good(rng: np.random.Generator) -> Mesh:
    return Mesh(seed=int(rng.integers(1 << 31)))


def paint(mesh: Mesh, canvas: Canvas) -> Surface:
    u, v = mesh.pose.to_part(canvas.x, canvas.y)
    surface = Surface(canvas)
    ground = noise.fractal(canvas.x, canvas.y, noise.stream(mesh.seed, "ground"), 3, 4)
    surface.albedo[:] = mix((176, 176, 176), (206, 206, 206), 0.5 + 0.25 * ground)
    wu, wv = u + 0.0 * v, v + 0.0 * u
    if mesh.bend:
        cx, cy, radius, dx, dy = mesh.bend
        pull = np.exp(-(((u - cx) ** 2 + (v - cy) ** 2) / radius**2))
        wu, wv = wu - dx * pull, wv - dy * pull
    uneven = noise.stream(mesh.seed, "wire")
    strands = [_strand(mesh, wu, wv, family, canvas) for family in (0, 1)]
    for distance, _, _ in strands:  # the mesh hangs a little above the ground
        surface.shadow(canvas.cover(distance), 0.30, 0.02)
    over = strands[0][2] >= strands[1][2]
    for family in (0, 1):
        for distance, along, lift in [strands[family]]:
            on_top = over if family == 0 else ~over
            cover = canvas.cover(distance) * np.where(on_top | (strands[1 - family][0] > 0), 1.0, 0.0).astype(
                np.float32
            )
            wear = noise.fractal(along, distance * 8, uneven, 6, 3)
            surface.lay(
                cover,
                mix((46, 46, 47), (98, 98, 99), 0.42 + 0.3 * wear),
                0.05 + shapes.dome(distance, WIRE / 2) + lift,
                0.34,
            )
    mesh.draw_marks(surface, u, v)
    return surface


def _strand(mesh: Mesh, u: Array, v: Array, family: int, canvas: Canvas) -> tuple[Array, Array, Array]:
    """(signed distance to the nearest wire of a family, position along it, how high it rides there)."""
    sign = 1.0 if family == 0 else -1.0
    across, along = (
        (u + sign * LEAN * v) / np.float32(np.hypot(1, LEAN)),
        (v - sign * LEAN * u) / np.float32(np.hypot(1, LEAN)),
    )
    other = (u - sign * LEAN * v) / np.float32(np.hypot(1, LEAN))
    number = np.rint(across / PITCH)
    phase = np.pi * (other / PITCH + number + (0.5 if family else -0.5) + 0.5)
    weave = np.cos(phase)
    across = across - number * PITCH + 0.004 * np.sin(phase + 0.7)
    distance = np.abs(across) - np.float32(WIRE / 2) * (1.0 + 0.05 * weave)
    if mesh.gap and mesh.gap[0] == family:
        _, which, start, end = mesh.gap
        missing = (number == which) & (along > start) & (along < end)
        distance = np.where(missing, 0.2, distance)
    return distance.astype(np.float32), along.astype(np.float32), (0.020 * weave).astype(np.float32)


def _place(rng: np.random.Generator) -> tuple[float, float]:
    x, y = rng.uniform(-0.75, 0.75, 2)
    return float(x), float(y)


def bent(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    angle, pull = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.09)
    return replace(mesh, bend=(*_place(rng), rng.uniform(0.13, 0.22), pull * np.cos(angle), pull * np.sin(angle)))


def broken(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    start = rng.uniform(-0.6, 0.4)
    return replace(mesh, gap=(int(rng.integers(2)), int(rng.integers(-3, 4)), start, start + rng.uniform(0.12, 0.24)))


def glue(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    return mesh.with_marks(
        Blot(
            _place(rng),
            rng.uniform(0.07, 0.13),
            int(rng.integers(1 << 31)),
            colour=(205, 205, 204),
            opacity=rng.uniform(0.5, 0.75),
            depth=-0.03,
            gloss=0.7,
            soft=0.02,
            stretch=rng.uniform(1, 1.6),
            degrees=rng.uniform(0, 180),
        )
    )


def metal_contamination(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    outline = splinter(rng, _place(rng), rng.uniform(0.07, 0.14), rng.uniform(0.03, 0.06))
    return mesh.with_marks(
        Shard(outline, (120, 120, 121), int(rng.integers(1 << 31)), thickness=0.05, glint=0.5, shadow=0.45)
    )


def thread(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    path = wander(rng, _place(rng), rng.uniform(0, 360), rng.uniform(0.5, 0.9), 30, 12)
    return mesh.with_marks(
        Line(
            path,
            rng.uniform(0.012, 0.018),
            int(rng.integers(1 << 31)),
            depth=-0.02,
            colour=(66, 66, 67),
            taper=False,
            shadow=0.25,
        )
    )


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
    jitter=Jitter(shift=0.06, degrees=2.0, scale=0.02),
    grey=True,
    blur=0.9,
)
