"""capsule: a lying two-tone capsule, a cap near black over an orange-red body, printed on both, on white paper.

Good ones lie almost still, but each piece has turned about the long axis by itself: the maker's name on the cap stands
anywhere or out of sight, the dose on the body a little higher or lower. They differ too in how far the cap is pushed
on, in color and light, in scuffs of the shell, ink that did not take, and dust on the paper and on the shell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..draws import about_one, beta_strong, new_seed, pair
from ..dust import litter
from ..marks import Blot, Line, scratches, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, mix

LEFT, RIGHT = -0.563, 0.610  # centers of the two round ends
CAP, BODY, SEAM = 0.277, 0.263, 0.023  # radii of both pieces, where the cap ends
DOSE, MAKER = ("500", 0.350, 0.140), ("solavit", -0.245, 0.088)  # words, position along, height of a capital
BLACK, ORANGE = ((13, 13, 21), (30, 30, 42)), ((140, 62, 42), (190, 98, 72))

# How much good ones differ, and how strong defects are: first guesses, judged by eye. The published row moved only
# DUST, WEAKEST and the strengths inside the defects (see benchmarks/twin.py).
ROLL = 14.0  # spread of the dose about the middle, degrees about the long axis
SLIDE = 0.010  # spread of the cap's edge and of the prints along the capsule
TONE = 0.045  # spread of the color's brightness
SCUFFS = 5  # scuffs on a good shell, at most
DUST = (2, 22)  # pieces of dust, fewest and most
WEAKEST = 0.32  # strength of the faintest defect, as a share of the strongest
_strength = partial(beta_strong, faintest=WEAKEST, a=1.0, b=1.2)


@dataclass(frozen=True)
class Capsule(Scene):
    """How this good one is: `rolls` of dose and maker's name (degrees), `seam`, `slides` of the two prints, brightness
    of `body` and `paper`, number of `scuffs` and pieces of `dust`.

    What is wrong: `squeeze`: (position along, half width, how far it bulges or is pressed in); `chip`: (position
    across, half width, length) of a piece missing from the cap's edge; `imprint`: (which print, what, how strongly).
    """

    marks: tuple[Blot | Line, ...] = ()
    rolls: tuple[float, float] = (0.0, 0.0)
    seam: float = SEAM
    slides: tuple[float, float] = (0.0, 0.0)
    body: float = 1.0
    paper: float = 1.0
    scuffs: int = 0
    dust: int = 4
    squeeze: tuple[float, float, float] | None = None
    chip: tuple[float, float, float] | None = None
    imprint: tuple[int, str, float] | None = None


def good(rng: np.random.Generator) -> Capsule:
    return Capsule(
        seed=new_seed(rng),
        rolls=(float(rng.normal(0, ROLL)), float(rng.uniform(-180, 180))),
        seam=float(SEAM + rng.normal(0, SLIDE)),
        slides=pair(rng.normal(0, SLIDE, 2)),
        body=about_one(rng, TONE),
        paper=about_one(rng, TONE / 2),
        scuffs=int(rng.integers(0, SCUFFS + 1)),
        dust=int(DUST[0] + (DUST[1] - DUST[0]) * rng.beta(1, 3)),
    )


def paint(capsule: Capsule, canvas: Canvas) -> Surface:
    u, v = capsule.pose.to_part(canvas.x, canvas.y)
    surface = Surface(canvas, (219, 218, 214))
    paper = noise.stream(capsule.seed, "paper")
    cloud = noise.fractal(canvas.x, canvas.y, paper, 2, 3)
    fibre = noise.fractal(canvas.x, canvas.y, paper, 45, 3)
    surface.tint(np.float32(capsule.paper) * (1 + 0.012 * cloud + 0.022 * fibre - 0.035 * canvas.y))

    rows = canvas.window(0, capsule.pose.dy, 0.62)[0]
    strip = surface.inset((rows, slice(None)))
    u, v = u[rows] if u.shape[0] > 1 else u, v[rows]
    u, v = u + 0 * v, v + 0 * u
    cap_only = _shell(capsule, strip, u, v, canvas.y[rows])
    dust = noise.stream(capsule.seed, "dust")
    half = capsule.dust // 2
    litter(surface, dust, capsule.dust - half, (0.0025, 0.008), (70, 66, 62), opacity=(0.1, 0.45), fibres=0.15)
    litter(
        surface,
        dust,
        half,
        (0.0025, 0.008),
        (190, 186, 184),
        opacity=(0.05, 0.35),
        fibres=0.25,
        length=(0.03, 0.12),
        area=(-0.82, -0.24, 0.86, 0.24),
    )
    for mark in capsule.marks:
        at = capsule.pose.to_image(*(mark.centre if isinstance(mark, Blot) else mark.points[len(mark.points) // 2]))
        window = canvas.window(*at, 0.4)
        low = max(window[0].start - rows.start, 0), max(window[0].stop - rows.start, 0)
        inside = slice(*low), window[1]
        mark.draw(strip.inset(inside), u[inside], v[inside], cap_only[inside])
    return surface


def _shell(capsule: Capsule, surface: Surface, u: Array, v: Array, y: Array) -> Array:
    canvas = surface.canvas
    rest = v  # across the capsule as it was: what it throws on the paper hardly changes
    if capsule.squeeze:
        at, half, deep = capsule.squeeze
        v = v / (1 + np.float32(deep) * np.exp(-(np.abs((u - at) / half) ** 2)))
    rng = noise.stream(capsule.seed, "shell")
    ends = shapes.segment(u, v, (LEFT, 0), (RIGHT, 0))[0]
    edge = u - capsule.seam
    if capsule.chip:
        across, width, length = capsule.chip
        jag = noise.fractal(u, v, noise.stream(capsule.seed, "chip"), 11, 3)
        edge = edge + length * np.clip(1.3 - np.abs((v - across) / width) ** 2 + 0.5 * jag, 0, 1)
    on_cap = canvas.cover(edge)
    radius = (BODY + (CAP - BODY) * on_cap).astype(np.float32)
    shell = (ends - radius).astype(np.float32)
    cover = canvas.cover(shell)

    outside = np.maximum(shell, 0)
    away = outside
    if capsule.squeeze:
        away = np.maximum(shapes.segment(u, rest, (LEFT, 0), (RIGHT, 0))[0] - radius, 0)
    halo = np.exp(-((away / 0.16) ** 2))
    right = 1 / (1 + np.exp(-(u - 0.10) / 0.10))
    above = 1 / (1 + np.exp((rest + 0.05) / 0.06))
    surface.tint(1 - 0.27 * halo * (1 - 0.4 * above * right) - 0.3 * np.exp(-((outside / 0.025) ** 2)))
    blush = (0.19 * halo * right * (0.35 + 0.65 * above))[..., None]
    surface.tint((1 + blush * np.array([0.55, -0.55, -0.35], np.float32)).astype(np.float32))

    gu, gv = capsule.pose.to_grain(canvas.x, y)
    fine = noise.fractal(gu, gv, rng, 40, 2)
    cloud = noise.fractal(gu, gv, rng, (3, 6), 3)
    round_ = np.clip(v / radius, -1, 1)
    side = np.sqrt(np.clip(1 - round_**2, 0, 1))
    share = 0.25 + 0.55 * side - 0.12 * round_ + 0.03 * fine + 0.10 * cloud
    black = mix(*BLACK, 0.25 + 0.4 * (side - 0.5) + 0.06 * fine + 0.2 * cloud)
    orange: Array = mix(*ORANGE, share) * np.float32(capsule.body)
    end = np.clip((u - RIGHT) / BODY, 0, 1)
    orange = orange * (1 - 0.25 * end**2)[..., None]
    surface.lay(cover, orange + (black - orange) * on_cap[..., None])
    surface.lay(cover, height=0.16 * side * radius, gloss=0.02)
    rim = np.exp(-(((edge - 0.004) / 0.008) ** 2))
    surface.tint(1 - 0.25 * rim * (1 - on_cap), cover)
    lit = rng.normal(0, 0.012, 3)
    for at, wide, much in ((0.062 + lit[0], 0.010, 0.045), (-0.16 + lit[1], 0.035, 0.03), (0.19 + lit[2], 0.02, 0.02)):
        gleam = np.exp(-(((v - at) / wide) ** 2)) * np.clip((0.62 - np.abs(u)) / 0.1, 0, 1) * (1 + 0.9 * cloud)
        surface.shine((much * gleam * (1 - 0.6 * on_cap)).astype(np.float32), cover)
    spot = np.exp(-(((u - 0.80) / 0.025) ** 2) - ((v - 0.01) / 0.09) ** 2) * 0.06
    spot += np.exp(-(((u + 0.72) / 0.03) ** 2) - ((v + 0.03) / 0.10) ** 2) * 0.015
    surface.shine(spot.astype(np.float32), cover)
    if capsule.squeeze:
        at, half, deep = capsule.squeeze
        crease = np.exp(-((((u - at) + 0.25 * v * np.sign(deep) + 0.03 * fine) / 0.014) ** 2)) * np.clip(
            1 - side, 0.1, 1
        )
        surface.shine((0.6 * abs(deep) * crease).astype(np.float32), cover)
        surface.raise_by(-0.25 * abs(deep) * np.exp(-(((u - at) / (0.5 * half)) ** 2)) * cover)
    _imprint(capsule, surface, u, v, radius, on_cap, cover, fine)
    scuffs = noise.stream(capsule.seed, "scuffs")
    for _ in range(capsule.scuffs):
        where = scuffs.uniform(-0.75, 0.78), scuffs.uniform(-0.2, 0.2)
        path = wander(scuffs, where, scuffs.uniform(0, 360), scuffs.uniform(0.03, 0.18), 25, 4)
        scuff = Line(
            path,
            scuffs.uniform(0.004, 0.008),
            new_seed(scuffs),
            colour=(196, 168, 156),
            opacity=scuffs.uniform(0.04, 0.18),
            ragged=0.5,
        )
        strip_rows = y[:, 0]
        x_at, y_at = capsule.pose.to_image(*path[2])
        columns = canvas.window(x_at, 0, 0.2)[1]
        rows = slice(*np.searchsorted(strip_rows, [y_at - 0.2, y_at + 0.2]).tolist())
        place = rows, columns
        scuff.draw(surface.inset(place), u[place], v[place], cover[place])
    return cover


def _imprint(
    capsule: Capsule, surface: Surface, u: Array, v: Array, radius: Array, on_cap: Array, within: Array, fine: Array
) -> None:
    around = np.arcsin(np.clip(v / radius, -0.999, 0.999)) * radius  # arc length about the long axis
    gu, gv = u[::2, ::2], v[::2, ::2]
    patch = noise.fractal(gu, gv, noise.stream(capsule.seed, "patch"), 10, 2).repeat(2, 0).repeat(2, 1)
    patch = patch[: u.shape[0], : u.shape[1]]
    taken = np.clip(0.84 + 0.18 * patch + 0.10 * fine, 0, 0.95)
    prints = ((DOSE, 1.38, 0.006, (220, 164, 150)), (MAKER, 1.12, 0.004, (146, 152, 158)))
    for number, ((words, x, tall), wide, bold, colour) in enumerate(prints):
        middle = np.deg2rad(capsule.rolls[number]) * (BODY, CAP)[number]
        x, ink, blur = x + capsule.slides[number], taken, 0.0
        ghost = 0.0
        if capsule.imprint and capsule.imprint[0] == number:
            _, what, how = capsule.imprint
            if what == "partial":
                ink = taken * (1 - (0.55 + 0.45 * how) * np.clip(0.5 + (u - x) * 14 + 4 * patch, 0, 1))
            elif what == "shifted":
                x, middle = x + 0.04 + 0.10 * how, middle - 0.05 - 0.14 * how
            elif what == "smeared":
                blur = 0.015 + 0.03 * how
            else:
                ghost = 0.45 + 0.55 * how
        left, right = np.searchsorted(surface.canvas.x[0] - capsule.pose.dx, [x - 0.34, x + 0.34]).tolist()
        place = slice(None), slice(left, right)
        part = surface.inset(place)
        a, b, within_, ink_ = (u[place] - x) / wide, around[place] - middle, within[place], ink[place]
        words_at = shapes.text(a, b, words, (0, 0), tall) - np.float32(bold)
        if number:  # the maker's sign, an arc above the first letter
            bow = np.abs(np.hypot(a + 0.16, (b + 0.012) * 1.2) - 0.06) - 0.009 + 0.2 * np.maximum(b + a + 0.17, 0)
            words_at = np.minimum(words_at, bow)
        cover = surface.canvas.cover(words_at - blur * 0.5 * (1 + patch[place]), blur * 2.5)
        cover = cover * (on_cap[place] if number else 1 - on_cap[place])
        part.lay(cover * ink_ * within_ * (0.75 if blur else 0.88), colour)
        if ghost:
            again = surface.canvas.cover(shapes.text(a - 0.03, b - 0.025, words, (0, 0), tall) - np.float32(bold))
            part.lay(again * ink_ * within_ * np.float32(ghost), colour)


def _on_shell(rng: np.random.Generator) -> tuple[float, float]:
    return float(rng.uniform(-0.72, 0.76)), float(rng.uniform(-0.2, 0.2))


def crack(capsule: Capsule, rng: np.random.Generator) -> Capsule:
    how, kind = _strength(rng), rng.random()
    if kind < 0.4:  # a piece of the cap's edge is missing
        return replace(capsule, chip=(float(rng.uniform(-0.2, 0.2)), 0.03 + 0.12 * how, 0.02 + 0.15 * how))
    (x, y), seed = _on_shell(rng), new_seed(rng)
    path = wander(rng, (x, y), rng.uniform(0, 360), 0.06 + 0.3 * how, 35, 8)
    lines = (
        Line(path, 0.008 + 0.026 * how, seed, colour=(206, 150, 128), opacity=0.15 + 0.5 * how, ragged=0.8),
        Line(
            path, 0.006 + 0.010 * how, seed, colour=(12, 8, 10), opacity=0.4 + 0.6 * how, depth=0.02 * how, ragged=0.6
        ),
    )
    if kind < 0.75 or how < 0.3:
        return capsule.with_marks(*lines)
    hole = Blot((x, y), 0.03 + 0.06 * how, seed, colour=(212, 206, 196), wobble=0.7, grain=0.5, depth=0.03)
    return capsule.with_marks(
        *lines, Blot((x + 0.01, y + 0.01), 0.035 + 0.07 * how, seed, colour=(14, 10, 10), opacity=0.7, wobble=0.8), hole
    )


def faulty_imprint(capsule: Capsule, rng: np.random.Generator) -> Capsule:
    which = int(rng.random() < 0.4 and abs(capsule.rolls[1]) < 55)
    what = str(rng.choice(["partial", "shifted", "smeared", "double"]))
    return replace(capsule, imprint=(which, what, _strength(rng)))


def poke(capsule: Capsule, rng: np.random.Generator) -> Capsule:
    how, where, seed = _strength(rng), _on_shell(rng), new_seed(rng)
    radius = 0.014 + 0.042 * how
    wrinkles = [
        Line(
            wander(rng, where, rng.uniform(0, 360), radius * rng.uniform(1.5, 3), 20, 4),
            0.006,
            new_seed(rng),
            colour=(200, 170, 158),
            opacity=0.1 + 0.5 * how,
        )
        for _ in range(int(3 * how + rng.random()))
    ]
    dent = Blot(
        where, radius, seed, tint=(0.62, 0.6, 0.6), opacity=0.4 + 0.6 * how, depth=0.01 + 0.05 * how, wobble=0.3
    )
    powder = Blot(
        (where[0] + 0.3 * radius, where[1]),
        radius * rng.uniform(0.4, 0.9),
        seed + 1,
        colour=(226, 206, 194),
        opacity=rng.uniform(0.1, 1.0) * how,
        wobble=0.8,
        grain=0.4,
    )
    return capsule.with_marks(*wrinkles, dent, powder)


def scratch(capsule: Capsule, rng: np.random.Generator) -> Capsule:
    how = _strength(rng)
    (along, across), heading = _on_shell(rng), rng.uniform(0, 180) if rng.random() < 0.4 else rng.uniform(-25, 25)
    style = dict(depth=0.004 * how, colour=(206, 170, 158), opacity=0.2 + 0.6 * how)
    lines = scratches(
        rng,
        (along, across),
        heading,
        0.025,
        (0.06, 0.10 + 0.25 * how),
        (0.005, 0.007 + 0.007 * how),
        most=1 + int(3 * how),
        **style,
    )
    return capsule.with_marks(*lines)


def squeeze(capsule: Capsule, rng: np.random.Generator) -> Capsule:
    how = _strength(rng)
    deep = float(rng.choice([-1, 1], p=[0.65, 0.35])) * (0.04 + 0.20 * how)
    return replace(capsule, squeeze=(float(rng.uniform(-0.5, 0.6)), float(rng.uniform(0.10, 0.18)), deep))


PART = Part(
    name="capsule",
    good=good,
    paint=paint,
    defects={"crack": crack, "faulty_imprint": faulty_imprint, "poke": poke, "scratch": scratch, "squeeze": squeeze},
    light=Light(towards=(-0.1, -0.5, 1.0), ambient=0.55, shininess=40, vignette=0.13),
    jitter=Jitter(shift=0.010, degrees=0.8, scale=0.006),
    grain=1.1,
)
