"""zipper: a closed zipper from top to bottom, bright interlocked teeth on dark woven tape on light ground, in gray.

Good ones differ in where the chain of teeth stands along its length (it slides by any part of a pitch), how straight
it runs, how tight the weave is and how it frays at the border, in light, wear and lint, and in single teeth that are
cast a little short, dull or askew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..draws import about_one, beta_strong, new_seed
from ..dust import draw_near, litter
from ..marks import Blot, Line, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, mix

PITCH, REACH, THICK = 0.098, 0.122, 0.033  # between teeth of one side, how far they reach over, half thickness
ROOT = 0.095  # how far a tooth runs back onto the tape
TAPE, STITCH = 0.66, 0.215  # half width of the tape, where the seam runs
CHAIN = 0.36  # half width of the strip in which teeth are painted

# How much good ones differ, and how strong defects are: first guesses, judged by eye. The published row moved only
# the strengths inside the defects (see benchmarks/twin.py).
SWAY = (0.003, 0.022)  # how far the chain strays from straight
TONE = 0.09  # spread of the brightness of a whole zipper, and of tape and teeth by themselves
TOOTH = (0.035, 0.07)  # spread of single teeth: in place (pitches) and in brightness
ODD = 0.05  # share of teeth that are cast short or dull
FRAY = (0.003, 0.012)  # how ragged the border of a good tape is
LINT = (8, 60)  # pieces of lint on the tape, fewest and most
WEAKEST = 0.12  # strength of the faintest defect, as a share of the strongest
_strength = partial(beta_strong, faintest=WEAKEST, a=1.0, b=1.3)


@dataclass(frozen=True)
class Zipper(Scene):
    """How this good one is: `slide` of the chain, in units; `sway`, `fray`, `lint` as above; brightnesses `tape` and
    `teeth`; `weave`: size of the weave.

    What is wrong: `gap`: (position, half length, width) where the two sides part; `broken`: (side, tooth, share that
    is lost)s; `squeezed`: (position, half length, strength); `frayed`: (position, half length, strength); `torn`:
    (side, position, half length, depth) of the tape's outer edge.
    """

    marks: tuple[Blot | Line, ...] = ()
    slide: float = 0.0
    sway: float = 0.006
    fray: float = 0.005
    lint: int = 20
    tape: float = 1.0
    teeth: float = 1.0
    weave: float = 1.0
    width: float = TAPE
    gap: tuple[float, float, float] | None = None
    broken: tuple[tuple[int, int, float], ...] = ()
    squeezed: tuple[float, float, float] | None = None
    frayed: tuple[float, float, float] | None = None
    torn: tuple[int, float, float, float] | None = None


def good(rng: np.random.Generator) -> Zipper:
    return Zipper(
        seed=new_seed(rng),
        slide=float(rng.uniform(0, PITCH)),
        sway=float(rng.uniform(*SWAY)),
        fray=float(rng.uniform(*FRAY)),
        lint=int(LINT[0] + (LINT[1] - LINT[0]) * rng.beta(1, 3)),
        tape=about_one(rng, TONE),
        teeth=about_one(rng, TONE / 2),
        weave=float(rng.uniform(0.94, 1.06)),
        width=float(TAPE + rng.normal(0, 0.006)),
    )


def paint(zipper: Zipper, canvas: Canvas) -> Surface:
    u, v = zipper.pose.to_part(canvas.x, canvas.y)
    gu, gv = zipper.pose.to_grain(canvas.x, canvas.y)
    surface = Surface(canvas, (176, 176, 176))
    ground = noise.fractal(canvas.x, canvas.y, noise.stream(zipper.seed, "ground"), 3, 3)
    surface.tint(1 + 0.05 * ground)
    apart = _bump(gv, zipper.gap[0], zipper.gap[1]) * np.float32(zipper.gap[2]) if zipper.gap else np.float32(0) * gv
    wave = np.float32(zipper.sway) * noise.fractal(gu * 0, gv, noise.stream(zipper.seed, "wave"), 1.3, 2)
    middle = u + wave  # across, from where the two sides meet
    side = np.where(middle < 0, -1.0, 1.0).astype(np.float32)
    near = np.abs(middle)
    x = (near - apart * np.exp(-((near / 0.18) ** 2))).astype(np.float32)  # the tape's outer edge stays
    cover = _tape(zipper, surface, gv, v, x, side)
    _teeth(zipper, surface, middle, v, apart)
    left, right = zipper.pose.dx - zipper.width, zipper.pose.dx + zipper.width
    lint = noise.stream(zipper.seed, "lint")
    for tone, count in (((168, 168, 168), zipper.lint), ((20, 20, 20), zipper.lint // 3)):
        litter(
            surface,
            lint,
            count,
            (0.003, 0.011),
            tone,
            opacity=(0.1, 0.75),
            fibres=0.35,
            area=(left, -1, right, 1),
            within=cover,
        )
    for mark in zipper.marks:
        at = zipper.pose.to_image(*(mark.centre if isinstance(mark, Blot) else mark.points[0]))
        draw_near(surface, u, v, mark, at, 0.4)
    return surface


def _bump(v: Array, at: float, half: float) -> Array:
    return (np.clip(1 - ((v - at) / half) ** 2, 0, 1) ** 1.5).astype(np.float32)


def _tape(zipper: Zipper, surface: Surface, gv: Array, v: Array, x: Array, side: Array) -> Array:
    canvas = surface.canvas
    jags = [noise.fractal(gv[:1] * 0, gv, noise.stream(zipper.seed, f"jag{way}"), 26, 3) for way in (-1, 1)]
    jag = np.where(side < 0, *jags)
    edge = x - np.float32(zipper.width) + np.float32(zipper.fray) * jag
    if zipper.torn:
        which, at, half, deep = zipper.torn
        edge = edge + _bump(gv, at, half) * (deep * (1 + 1.2 * jag)) * (side == which)
    cover = canvas.cover(np.maximum(edge, -x - 0.01))
    surface.shadow(canvas.cover(edge - 0.015), 0.5, 0.03)
    phase = noise.stream(zipper.seed, "weave").uniform(0, 2, 2).astype(np.float32)
    a, b = v / np.float32(0.034 * zipper.weave) + phase[0], x / np.float32(0.030) + phase[1]
    twill = np.sin(np.pi * (a + 0.9 * b)) * 0.5 + 0.5
    row = np.floor(b).astype(np.int32)
    knit = 0.5 + 0.5 * np.cos(2 * np.pi * (b - row))
    yarn = noise.stream(zipper.seed, "yarn").uniform(-1, 1, 256).astype(np.float32)[row % 256]
    fuzz = noise.fractal(canvas.x, canvas.y, noise.stream(zipper.seed, "fuzz"), 70, 2)
    worn = noise.fractal(canvas.x, canvas.y, noise.stream(zipper.seed, "worn"), (2.5, 1.2), 3)
    share = 0.42 + 0.30 * (twill - 0.5) + 0.10 * yarn + 0.22 * fuzz - 0.12 * knit + 0.10 * worn
    cloth = mix((34, 34, 36), (92, 92, 93), share) * np.float32(zipper.tape)
    surface.lay(cover, cloth, 0.02 + 0.006 * twill * (1 - 0.5 * knit) + 0.002 * fuzz, 0.0)
    seam = np.abs(np.abs(x) - STITCH) - 0.016
    thread = np.abs(np.sin(np.pi * (v + phase[0] * 0.05) / 0.052)).astype(np.float32)
    surface.lay(canvas.cover(seam) * cover * (0.3 + 0.45 * thread), (112, 112, 112), 0.03 + 0.008 * thread)
    return cover


def _teeth(zipper: Zipper, whole: Surface, middle: Array, v: Array, apart: Array) -> None:
    canvas = whole.canvas
    columns = canvas.window(zipper.pose.dx, 0.0, CHAIN)[1]
    surface = whole.inset((slice(None), columns))
    u = middle[:, columns]
    v = v[:, columns] if v.shape[1] > 1 else v
    px = canvas.x[:, columns]
    cloudy = noise.fractal(px, canvas.y, noise.stream(zipper.seed, "nylon"), 24, 3)
    odd_teeth = noise.stream(zipper.seed, "odd")
    for side in (-1, 1):
        along = (v + np.float32(zipper.slide)) / PITCH + (0.0 if side < 0 else 0.5)
        number = np.floor(along + 0.5).astype(np.int32)
        rng = noise.stream(zipper.seed, f"teeth{side}")
        jitter, tone = rng.normal(0, TOOTH[0], 64).astype(np.float32), rng.normal(1.0, TOOTH[1], 64).astype(np.float32)
        odd = odd_teeth.random((2, 64)) < ODD
        short = (odd[0] * odd_teeth.uniform(0.1, 0.3, 64)).astype(np.float32)
        tone = tone * np.where(odd[1], odd_teeth.uniform(0.55, 0.85, 64), 1.0).astype(np.float32)
        for which, nth, lost in zipper.broken:
            if which == side:
                short[nth % 64] = lost
        across = (along - number - jitter[number % 64]) * np.float32(PITCH)
        reach, thick = np.float32(REACH) * (1 - short[number % 64]), np.float32(THICK)
        if zipper.squeezed:
            at, half, strength = zipper.squeezed
            crush = _bump(v, at, half) * strength
            uneven = rng.uniform(-1, 1, 64).astype(np.float32)[number % 64]
            across = across + 0.035 * crush * uneven
            thick = thick * (1 - 0.35 * crush * np.abs(uneven)) + 0.012 * crush
            reach = reach * (1 - 0.3 * crush * (0.5 + 0.5 * uneven))
        if zipper.frayed:
            at, half, strength = zipper.frayed
            ragged = noise.fractal(px, canvas.y, noise.stream(zipper.seed, "ragged"), 38, 3)
            thick = thick + 0.030 * strength * ragged * _bump(v, at, half)
        inward = -side * (u - side * apart)  # grows from the tape on this side across the middle
        head = np.hypot(np.maximum(inward - reach + 2.2 * THICK, 0), across) - thick * np.float32(1.12)
        stem = np.maximum(
            np.abs(across) - thick * np.float32(0.72), np.maximum(-inward - ROOT, inward - reach + 2.0 * THICK)
        )
        tooth = np.minimum(head + 1.0 * (inward < reach - 3.2 * THICK), stem)
        gone = [n for s, n, lost in zipper.broken if s == side and lost > 0.9]
        if gone:
            tooth = np.where(np.isin(number, gone) & (inward > -ROOT * 0.75), 0.1, tooth)
        surface.shadow(canvas.cover(tooth), 0.35, 0.015)
        plastic = mix((138, 138, 138), (220, 220, 220), 0.5 + 0.25 * cloudy) * (
            np.float32(zipper.teeth) * tone[number % 64][..., None]
        )
        surface.lay(canvas.cover(tooth), plastic, 0.05 + shapes.dome(tooth.astype(np.float32), THICK), 0.25)


def _along(rng: np.random.Generator) -> float:
    return float(rng.uniform(-0.7, 0.7))


def _side(rng: np.random.Generator) -> int:
    return int(rng.choice([-1, 1]))


def broken_teeth(zipper: Zipper, rng: np.random.Generator) -> Zipper:
    side, at, how = _side(rng), _along(rng), _strength(rng)
    first = int(np.floor((at + zipper.slide) / PITCH + (0.5 if side < 0 else 1.0)))
    lost = 0.3 + 0.7 * how
    many = 1 + int(rng.random() < how) + int(rng.random() < how**2)
    return replace(zipper, broken=tuple((side, first + n, lost) for n in range(many)))


def fabric_border(zipper: Zipper, rng: np.random.Generator) -> Zipper:
    how = _strength(rng)
    side, at, half = _side(rng), _along(rng), float(rng.uniform(0.05, 0.2))
    return replace(zipper, torn=(side, at, half, 0.010 + 0.065 * how))


def fabric_interior(zipper: Zipper, rng: np.random.Generator) -> Zipper:
    how = _strength(rng)
    where = (float(_side(rng) * rng.uniform(0.30, 0.56)), _along(rng))
    seed = new_seed(rng)
    if rng.random() < 0.5:
        return zipper.with_marks(
            Blot(
                where,
                0.02 + 0.06 * how * rng.uniform(0.6, 1.3),
                seed,
                colour=(150, 150, 150) if rng.random() < 0.7 else (24, 24, 24),
                opacity=0.25 + 0.5 * how,
                wobble=0.6,
                grain=0.4,
                depth=0.02 * how,
            )
        )
    pulls = [
        Line(
            wander(rng, where, rng.uniform(0, 360), rng.uniform(0.08, 0.14) + 0.14 * how, 40),
            0.008 + 0.008 * how,
            new_seed(rng),
            colour=(138, 138, 138),
            opacity=0.35 + 0.6 * how,
            shadow=0.4 * how,
        )
        for _ in range(1 + int(3 * how * rng.random()))
    ]
    return zipper.with_marks(*pulls)


def rough(zipper: Zipper, rng: np.random.Generator) -> Zipper:
    how = _strength(rng)
    return replace(zipper, frayed=(_along(rng), float(rng.uniform(0.07, 0.14) + 0.14 * how), 0.9 + 1.0 * how))


def split_teeth(zipper: Zipper, rng: np.random.Generator) -> Zipper:
    how = _strength(rng)
    return replace(zipper, gap=(_along(rng), float(rng.uniform(0.10, 0.22) + 0.12 * how), 0.022 + 0.075 * how))


def squeezed_teeth(zipper: Zipper, rng: np.random.Generator) -> Zipper:
    how = _strength(rng)
    return replace(zipper, squeezed=(_along(rng), float(rng.uniform(0.07, 0.16) + 0.12 * how), 0.75 + 0.65 * how))


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
    jitter=Jitter(shift=0.035, degrees=0.7, scale=0.012),
    grey=True,
    blur=0.65,
)
