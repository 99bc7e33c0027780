"""zipper: a closed zipper from top to bottom; bright interlocked teeth on dark woven tape, seen in grey."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..marks import Blot, Line, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, mix

PITCH, REACH, THICK = 0.118, 0.140, 0.040  # between teeth of one side, how far they reach over, half thickness
TAPE, STITCH = 0.66, 0.23  # half width of the tape, where the seam runs


@dataclass(frozen=True)
class Zipper(Scene):
    """`gap`: (position, half length, width) where the two sides part; `broken`: (side, tooth)s; `squeezed`:
    (position, half length, strength); `frayed`: (position, half length); `torn`: (side, position, half length, depth)
    of the tape's outer edge.
    """

    gap: tuple[float, float, float] | None = None
    broken: tuple[tuple[int, int], ...] = ()
    squeezed: tuple[float, float, float] | None = None
    frayed: tuple[float, float] | None = None
    torn: tuple[int, float, float, float] | None = None


def good(rng: np.random.Generator) -> Zipper:
    return Zipper(seed=int(rng.integers(1 << 31)))


def paint(zipper: Zipper, canvas: Canvas) -> Surface:
    u, v = zipper.pose.to_part(canvas.x, canvas.y)
    surface = Surface(canvas, (164, 164, 164))
    ground = noise.fractal(canvas.x, canvas.y, noise.stream(zipper.seed, "ground"), 3, 3)
    surface.tint(1 + 0.04 * ground)
    apart = canvas.flat() + _bump(v, zipper.gap[0], zipper.gap[1]) * zipper.gap[2] if zipper.gap else canvas.flat()
    wave = 0.006 * noise.fractal(u * 0, v, noise.stream(zipper.seed, "wave"), 1.5, 2)
    side = np.where(u + wave < 0, -1.0, 1.0).astype(np.float32)
    near = np.abs(u + wave)
    x = (near - apart * np.exp(-((near / 0.30) ** 2))).astype(
        np.float32
    )  # from the middle; the tape's outer edge stays
    _tape(zipper, surface, u, v, x, side)
    _teeth(zipper, surface, u + wave, v, apart)
    zipper.draw_marks(surface, u, v)
    return surface


def _bump(v: Array, at: float, half: float) -> Array:
    return (np.clip(1 - ((v - at) / half) ** 2, 0, 1) ** 1.5).astype(np.float32)


def _tape(zipper: Zipper, surface: Surface, u: Array, v: Array, x: Array, side: Array) -> None:
    canvas = surface.canvas
    edge = x - np.float32(TAPE)
    if zipper.torn:
        which, at, half, deep = zipper.torn
        jag = noise.fractal(u, v, noise.stream(zipper.seed, "jag"), 14, 3)
        edge = edge + _bump(v, at, half) * (deep * (1 + 0.9 * jag)) * (side == which)
    cover = canvas.cover(np.maximum(edge, -x - 0.01))
    surface.shadow(canvas.cover(edge - 0.015), 0.5, 0.03)
    a, b = v / 0.034, x / 0.030
    twill = np.sin(np.pi * (a + 0.9 * b)) * 0.5 + 0.5
    row = np.floor(b).astype(np.int32)
    knit = 0.5 + 0.5 * np.cos(2 * np.pi * (b - row))
    yarn = noise.stream(zipper.seed, "yarn").uniform(-1, 1, 256).astype(np.float32)[row % 256]
    fuzz = noise.fractal(canvas.x, canvas.y, noise.stream(zipper.seed, "fuzz"), 70, 2)
    cloth = mix((34, 34, 36), (92, 92, 93), 0.42 + 0.30 * (twill - 0.5) + 0.10 * yarn + 0.22 * fuzz - 0.12 * knit)
    surface.lay(cover, cloth, 0.02 + 0.006 * twill * (1 - 0.5 * knit) + 0.002 * fuzz, 0.0)
    seam = np.abs(np.abs(x) - STITCH) - 0.018
    thread = np.abs(np.sin(np.pi * v / 0.06)).astype(np.float32)
    surface.lay(canvas.cover(seam) * cover * (0.35 + 0.5 * thread), (116, 116, 116), 0.03 + 0.008 * thread)


def _teeth(zipper: Zipper, surface: Surface, u: Array, v: Array, apart: Array) -> None:
    canvas = surface.canvas
    cloudy = noise.fractal(canvas.x, canvas.y, noise.stream(zipper.seed, "nylon"), 24, 3)
    for side in (-1, 1):
        shift = 0.0 if side < 0 else 0.5
        along = v / PITCH + shift
        number = np.floor(along + 0.5).astype(np.int32)
        rng = noise.stream(zipper.seed, f"teeth{side}")
        jitter, tone = rng.normal(0, 0.025, 64).astype(np.float32), rng.normal(1.0, 0.06, 64).astype(np.float32)
        across = (along - number - jitter[number % 64]) * np.float32(PITCH)
        reach, thick = np.float32(REACH), np.float32(THICK)
        root = 0.105
        if zipper.squeezed:
            at, half, strength = zipper.squeezed
            crush = _bump(v, at, half) * strength
            uneven = rng.uniform(-1, 1, 64).astype(np.float32)[number % 64]
            across = across + 0.035 * crush * uneven
            thick = thick * (1 - 0.35 * crush * np.abs(uneven)) + 0.012 * crush
            reach = reach * (1 - 0.3 * crush * (0.5 + 0.5 * uneven))
        if zipper.frayed:
            at, half = zipper.frayed
            ragged = noise.fractal(canvas.x, canvas.y, noise.stream(zipper.seed, "ragged"), 38, 3)
            thick = thick + 0.030 * ragged * _bump(v, at, half)
        x = u - side * apart
        inward = -side * x  # grows from the tape on this side across the middle
        head = np.hypot(np.maximum(inward - reach + 2.2 * THICK, 0), across) - thick * np.float32(1.12)
        stem = np.maximum(
            np.abs(across) - thick * np.float32(0.72), np.maximum(-inward - root, inward - reach + 2.0 * THICK)
        )
        tooth = np.minimum(head + 1.0 * (inward < reach - 3.2 * THICK), stem)
        gone = [n for s, n in zipper.broken if s == side]
        if gone:
            tooth = np.where(np.isin(number, gone) & (inward > -root * 0.75), 0.1, tooth)
        surface.shadow(canvas.cover(tooth), 0.35, 0.015)
        plastic = mix((150, 150, 150), (228, 228, 228), 0.55 + 0.25 * cloudy) * tone[number % 64][..., None]
        surface.lay(canvas.cover(tooth), plastic, 0.05 + shapes.dome(tooth.astype(np.float32), THICK), 0.25)


def _along(rng: np.random.Generator) -> float:
    return float(rng.uniform(-0.65, 0.65))


def _side(rng: np.random.Generator) -> int:
    return int(rng.choice([-1, 1]))


def broken_teeth(zipper: Zipper, rng: np.random.Generator) -> Zipper:
    side, first = _side(rng), int(rng.integers(-6, 5))
    return replace(zipper, broken=tuple((side, first + n) for n in range(int(rng.integers(1, 4)))))


def fabric_border(zipper: Zipper, rng: np.random.Generator) -> Zipper:
    return replace(
        zipper, torn=(_side(rng), _along(rng), float(rng.uniform(0.08, 0.2)), float(rng.uniform(0.05, 0.12)))
    )


def fabric_interior(zipper: Zipper, rng: np.random.Generator) -> Zipper:
    where = (float(_side(rng) * rng.uniform(0.34, 0.56)), _along(rng))
    seed = int(rng.integers(1 << 31))
    if rng.random() < 0.5:
        return zipper.with_marks(
            Blot(
                where,
                rng.uniform(0.05, 0.10),
                seed,
                colour=(150, 150, 150),
                opacity=0.75,
                wobble=0.6,
                grain=0.4,
                depth=0.02,
            )
        )
    pulls = [
        Line(
            wander(rng, where, rng.uniform(0, 360), rng.uniform(0.12, 0.3), 40),
            0.016,
            int(rng.integers(1 << 31)),
            colour=(138, 138, 138),
            shadow=0.4,
        )
        for _ in range(rng.integers(2, 5))
    ]
    return zipper.with_marks(*pulls)


def rough(zipper: Zipper, rng: np.random.Generator) -> Zipper:
    return replace(zipper, frayed=(_along(rng), float(rng.uniform(0.15, 0.3))))


def split_teeth(zipper: Zipper, rng: np.random.Generator) -> Zipper:
    return replace(zipper, gap=(_along(rng), float(rng.uniform(0.25, 0.45)), float(rng.uniform(0.05, 0.10))))


def squeezed_teeth(zipper: Zipper, rng: np.random.Generator) -> Zipper:
    return replace(zipper, squeezed=(_along(rng), float(rng.uniform(0.15, 0.28)), float(rng.uniform(0.7, 1.1))))


def combined(zipper: Zipper, rng: np.random.Generator) -> Zipper:
    for edit in rng.choice(
        np.array([broken_teeth, fabric_border, fabric_interior, split_teeth], dtype=object), 2, replace=False
    ):
        zipper = edit(zipper, rng)
    return zipper


PART = Part(
    name="zipper",
    good=good,
    paint=paint,
    defects={
        "broken_teeth": broken_teeth,
        "combined": combined,
        "fabric_border": fabric_border,
        "fabric_interior": fabric_interior,
        "rough": rough,
        "split_teeth": split_teeth,
        "squeezed_teeth": squeezed_teeth,
    },
    light=Light(towards=(-0.5, -0.5, 1.0), ambient=0.45, shininess=20, occlusion=0.25, vignette=0.08),
    jitter=Jitter(shift=0.03, scale=0.012),
    grey=True,
    blur=0.65,
)
