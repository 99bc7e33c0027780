"""pill: a white oblong tablet with red-brown specks, a score line and embossed letters, on black ground.

The tablet lies still but is never the same: few or many specks of all sizes, some with a pale halo, a warmer or cooler
white, letters pressed more or less deep, pits, crumbs and fine scuffs, powder on the ground. Defects lie among these:
a faint tint or a plain stain, a hairline or a piece broken off, a grain as small as a speck, letters half worn or gone,
a tablet of another kind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..draws import how_strong, new_seed
from ..dust import specks
from ..marks import Blot, Line, Shard, scratches, splinter, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, mix

# Set by the published row of one detector: how much good tablets differ, and how strong defects are.
SPECKS, LARGE = (8, 44), 0.022  # how many specks, and how large the largest few are
PITS, SCUFFS = 7, 4  # at most so many of each on a good tablet
PRESS = 0.30  # how far the depth of the letters strays
FAINTEST, SKEW = 0.12, 1.15  # weakest strength of a defect, and how much weak ones outnumber strong ones
_strength = partial(how_strong, faintest=FAINTEST, skew=SKEW)

HALF, RADIUS = 0.37, 0.395


@dataclass(frozen=True)
class Pill(Scene):
    """`warm`: hue of the white, -1 to 1; `press`: depth of the letters; `wear`: 0 to 1, how scuffed; `light`: how
    bright the exposure is. Damage: `chip`: (angle round the rim, size) of a piece broken off; `letters`: what is
    embossed left and right of the score; `worn`: how much of them is gone; `other`: a tablet of another kind (0 none,
    1 yellowish, 2 round, 3 without specks); `unlike`: how yellow it is.
    """

    warm: float = 0.0
    press: float = 1.0
    wear: float = 0.3
    light: float = 1.0
    chip: tuple[float, float] | None = None
    letters: tuple[str, str] = ("F", "F")
    worn: float = 0.0
    other: int = 0
    unlike: float = 1.0


def good(rng: np.random.Generator) -> Pill:
    return Pill(
        seed=new_seed(rng),
        warm=float(rng.uniform(-1, 1)),
        press=float(1 + PRESS * rng.uniform(-1, 1)),
        wear=float(rng.uniform(0, 1) ** 1.5),
        light=float(rng.uniform(0.93, 1.06)),
    )


def outline(pill: Pill, u: Array, v: Array) -> Array:
    """Signed distance of the tablet seen from above."""
    if pill.other == 2:
        return shapes.disc(u, v, (0, 0), 0.56)
    return shapes.segment(u, v, (-HALF, 0), (HALF, 0))[0] - np.float32(RADIUS)


def paint(pill: Pill, canvas: Canvas) -> Surface:
    surface = Surface(canvas, (10, 10, 11))
    dust = noise.fractal(canvas.x, canvas.y, noise.stream(pill.seed, "ground"), 20, 3)
    surface.tint(1 + 0.4 * dust)
    rng = noise.stream(pill.seed, "crumbs")  # and powder, on the ground
    specks(surface, rng, int(rng.integers(0, int(2 + 6 * pill.wear))), (0.004, 0.009), (0.01, 0.08), (150, 146, 140))
    middle, low = (pill.pose.dx, pill.pose.dy), 0.62 if pill.other == 2 else 0.46
    window = canvas.window(*middle, low)[0], canvas.window(*middle, 0.84)[1]
    part, x, y = surface.inset(window), canvas.x[:, window[1]], canvas.y[window[0]]
    u, v = pill.pose.to_part(x, y)
    gu, gv = pill.pose.to_grain(x, y)
    u, v = np.broadcast_arrays(u, v)
    edge = outline(pill, u, v) + 0.004 * noise.fractal(gu, gv, noise.stream(pill.seed, "edge"), 5, 3)
    scar = None
    if pill.chip:
        angle, size = pill.chip
        place = _on_rim(angle)
        jag = noise.fractal(gu, gv, noise.stream(pill.seed, "jag"), 9, 3)
        bite = shapes.disc(u, v, place, size) + 0.3 * size * jag
        scar = canvas.cover(np.maximum(edge, bite - 0.4 * size))
        edge = shapes.cut(edge, bite)
    cover = canvas.cover(edge)
    powder = noise.fractal(gu, gv, noise.stream(pill.seed, "powder"), 26, 4, 0.6)
    cloud = noise.fractal(gu, gv, noise.stream(pill.seed, "cloud"), 2.5, 3)
    share, cast = 0.6 + 0.22 * powder + 0.16 * cloud, 5 * pill.warm
    white = mix((196 + cast, 192, 186 - cast), (230, 228, 222 - cast), share)
    if pill.other == 1:
        white += (mix((198, 172, 92), (228, 206, 132), share) - white) * np.float32(pill.unlike)
    part.lay(cover, white, 0.8 * shapes.dome(edge, 0.20) + 0.0016 * powder, 0.03)
    _wear(pill, part, u, v, cover)
    if pill.other in (0, 1):
        _specks(pill, part, u, v, cover)
    _emboss(pill, part, u, v, gu, gv, cover)
    if scar is not None:
        part.lay(scar * cover, mix((150, 142, 132), (206, 198, 186), 0.5 + 0.4 * powder))
        part.raise_by(0.012 * powder * scar)
    pill.draw_marks(part, u, v, cover)
    surface.tint(pill.light)
    return surface


def _on_rim(angle: float) -> tuple[float, float]:
    """The point of the rim that lies in this direction."""
    c, s = np.cos(angle), np.sin(angle)
    along = float(np.clip((HALF + RADIUS) * c, -HALF, HALF))
    return along + float(RADIUS * c) * (abs(c) > 0.5), float(RADIUS * s) if abs(c) <= 0.9 else float(0.8 * RADIUS * s)


def _specks(pill: Pill, part: Surface, u: Array, v: Array, within: Array) -> None:
    """Red-brown specks, most of them small; each is drawn where it is, the rest is left alone."""
    rng = noise.stream(pill.seed, "specks")
    for _ in range(int(rng.integers(*SPECKS))):
        place = (float(rng.uniform(-0.72, 0.72)), float(rng.uniform(-0.36, 0.36)))
        size = float(0.007 + LARGE * rng.uniform(0, 1) ** 2.5)
        hue, opacity, halo = rng.uniform(0, 1), rng.uniform(0.25, 0.9), rng.uniform(0, 1) ** 4
        window = _near(pill, part, u, v, place, size * 3)
        if not window:
            continue
        away, inset = shapes.disc(u[window], v[window], place, size), part.inset(window)
        spot = part.canvas.cover(away, 0.012) * within[window] * np.float32(opacity)
        inset.tint(
            1 - np.array([0.1, 0.35, 0.4], np.float32) * halo, np.clip(1 - away / (2 * size), 0, 1) * within[window]
        )
        inset.lay(spot, (150 - 54 * hue, 58 + 4 * hue, 44 + 6 * hue))


def _near(
    pill: Pill, part: Surface, u: Array, v: Array, place: tuple[float, float], reach: float
) -> tuple[slice, slice] | None:
    """The samples of the tablet's window around a point; None where it lies outside."""
    x, y = place[0] - u[0, 0], place[1] - v[0, 0]
    angle, step = np.deg2rad(pill.pose.degrees), float(part.canvas.step) / pill.pose.scale
    c, s = np.cos(angle), np.sin(angle)
    column, row, far = (c * x - s * y) / step, (s * x + c * y) / step, reach / step + 1
    window = (
        slice(max(int(row - far), 0), max(int(row + far) + 2, 0)),
        slice(max(int(column - far), 0), max(int(column + far) + 2, 0)),
    )
    return window if u[window].size > 4 else None


def _wear(pill: Pill, part: Surface, u: Array, v: Array, within: Array) -> None:
    """Pits and fine scuffs that a good tablet has too."""
    rng = noise.stream(pill.seed, "scuffs")
    marks: list[tuple[Blot | Line, tuple[float, float], float]] = []
    for _ in range(int(rng.integers(0, int(1 + PITS * pill.wear)))):
        at, size, grey = _on_tablet(rng), float(rng.uniform(0.006, 0.022)), float(rng.uniform(0.75, 0.95))
        pit = Blot(at, size, new_seed(rng), tint=(grey,) * 3, depth=0.3 * size, wobble=0.5)
        marks.append((pit, at, 2 * size))
    for _ in range(int(rng.integers(0, int(1 + SCUFFS * pill.wear)))):
        at, length = _on_tablet(rng), float(rng.uniform(0.04, 0.2))
        path = wander(rng, at, rng.uniform(0, 360), length, 12, 4)
        line = Line(path, float(rng.uniform(0.006, 0.012)), new_seed(rng), colour=(160, 156, 150))
        marks.append((replace(line, opacity=float(rng.uniform(0.15, 0.45)), depth=0.002), at, length + 0.02))
    for mark, at, reach in marks:
        if window := _near(pill, part, u, v, at, reach):
            mark.draw(part.inset(window), u[window], v[window], within[window])


def _emboss(pill: Pill, part: Surface, u: Array, v: Array, gu: Array, gv: Array, within: Array) -> None:
    score = np.maximum(np.abs(u) - 0.010, 0)
    part.raise_by(-0.026 * np.exp(-((score / 0.018) ** 2)) * within * (0.75 if pill.other else 1.0))
    patch = noise.fractal(gu, gv, noise.stream(pill.seed, "wear"), 7, 3)
    for letter, x in zip(pill.letters, (-0.30, 0.30), strict=True):
        window = _near(pill, part, u, v, (x, 0.0), 0.26)
        if letter and window:
            inset, keep = part.inset(window), np.clip(1 - pill.worn * (1 + 2.2 * patch[window]), 0, 1) * pill.press
            pressed = np.clip(-shapes.text(u[window], v[window], letter, (x, 0.0), 0.30) / 0.020 + 0.5, 0, 1)
            inset.raise_by(-0.024 * pressed * keep * within[window])
            inset.tint(1 - 0.08 * pressed * keep, within[window])


def _on_tablet(rng: np.random.Generator) -> tuple[float, float]:
    return float(rng.uniform(-0.58, 0.58)), float(rng.uniform(-0.29, 0.29))


def color(pill: Pill, rng: np.random.Generator) -> Pill:
    strength = _strength(rng)
    hue = [(1.0, 0.66, 0.60), (1.0, 0.92, 0.56), (0.74, 0.80, 0.98), (0.80, 0.60, 0.54)][rng.integers(4)]
    spots = [
        Blot(
            _on_tablet(rng),
            0.03 + 0.13 * rng.uniform(0.3, 1) * (0.4 + 0.6 * strength),
            new_seed(rng),
            tint=hue,
            opacity=0.35 + 0.65 * strength,
            soft=0.05,
            wobble=0.4,
        )
        for _ in range(rng.integers(1, 3))
    ]
    return pill.with_marks(*spots)


def contamination(pill: Pill, rng: np.random.Generator) -> Pill:
    strength, seed = _strength(rng), new_seed(rng)
    if rng.random() < 0.6:
        length = 0.035 + 0.10 * strength
        colour = [(52, 46, 42), (70, 96, 132), (150, 120, 60), (120, 44, 40)][rng.integers(4)]
        grain = splinter(rng, _on_tablet(rng), length, length * rng.uniform(0.35, 0.8))
        return pill.with_marks(Shard(grain, colour, seed, thickness=0.02, gloss=0.1, shadow=0.3))
    path = wander(rng, _on_tablet(rng), rng.uniform(0, 360), 0.10 + 0.3 * strength, 40)
    fibre = Line(path, 0.007 + 0.009 * strength, seed, colour=(64, 56, 52), opacity=0.4 + 0.6 * strength)
    return pill.with_marks(replace(fibre, shadow=0.2 * strength))


def crack(pill: Pill, rng: np.random.Generator) -> Pill:
    strength = _strength(rng)
    if rng.random() < 0.5:
        return replace(pill, chip=(float(rng.uniform(0, 2 * np.pi)), 0.035 + 0.13 * strength))
    side = rng.choice([-1, 1])
    start = (float(rng.uniform(-0.5, 0.5)), float(side * 0.39))
    path = wander(rng, start, -side * 90 + rng.uniform(-40, 40), 0.15 + 0.5 * strength, 28, 10)
    line = Line(path, 0.008 + 0.014 * strength, new_seed(rng), colour=(70, 64, 60), ragged=0.6)
    return pill.with_marks(replace(line, opacity=0.25 + 0.65 * strength, depth=0.03 * strength))


def faulty_imprint(pill: Pill, rng: np.random.Generator) -> Pill:
    kind, strength = rng.random(), _strength(rng)
    if kind < 0.35:
        return replace(pill, letters=("", "F") if rng.random() < 0.5 else ("F", ""))
    if kind < 0.7:
        return replace(pill, worn=0.45 + 0.65 * strength)
    return replace(pill, letters=[("F", "P"), ("E", "F"), ("F", "T"), ("P", "F")][rng.integers(4)])


def pill_type(pill: Pill, rng: np.random.Generator) -> Pill:
    other = replace(pill, other=int(rng.choice([1, 1, 1, 2, 3])), unlike=0.3 + 0.7 * _strength(rng))
    return replace(other, region=lambda u, v: np.minimum(outline(pill, u, v), outline(other, u, v)))


def scratch(pill: Pill, rng: np.random.Generator) -> Pill:
    strength = _strength(rng)
    style = dict(depth=0.003 + 0.012 * strength, colour=(146, 142, 138), opacity=0.25 + 0.5 * strength)
    width, length = 0.008 + 0.012 * strength, 0.12 + 0.3 * strength
    start, heading = _on_tablet(rng), rng.uniform(0, 360)
    return pill.with_marks(
        *scratches(rng, start, heading, 0.05, (0.7 * length, 1.3 * length), (0.8 * width, width), most=4, **style)
    )


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
    jitter=Jitter(shift=0.018, degrees=1.6, scale=0.008),
)
