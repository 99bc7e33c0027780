"""metal_nut: a steel pinwheel with a bore, seen from above under a ring of lamps, filling the frame on near black.

Four blades end in a hook that is bent up and lit whitish; the face is greenish, full of fine sparkles, with turning
marks on the blades, a matt disc and a smooth flange round the bore. Good ones differ in how they are turned (by some
degrees either way of a fourth of a turn), in how flat they lie and so in where the face shines, and in every mark.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..draws import about_one, beta_strong, new_seed
from ..dust import draw_near, litter, span
from ..marks import Line, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, linear, mix

BORE, FLANGE, DISC, NOTCH, TIP = 0.213, 0.335, 0.555, 0.615, 0.86  # radii
# One blade as (degrees, radius), from its sharp corner round the hook to where the next one's edge begins.
BLADE = (
    *((-0.6, 0.845), (0.6, 0.858), (12, TIP), (24, TIP), (36, 0.858), (44, 0.852), (46.2, 0.842), (47.2, 0.815)),
    *((47.4, 0.74), (48.2, 0.66), (50.5, 0.625), (55, NOTCH), (61, 0.635)),
)
LATTICE = 768  # samples of the outline's distance field, each way

# How much good ones differ, and how strong defects are: first guesses, judged by eye. The published row moved only
# WEAKEST and the strengths inside the defects (see benchmarks/twin.py).
TURN = 25.0  # degrees either way
BLADES = 0.35  # how differently the four blades of a nut face the lamps
SHINE = (0.15, 1.0)  # how much of the face mirrors the lamps
TONE = 0.06  # spread of the brightness
LATHE = (0.3, 1.0)  # strength of the turning marks
WEAKEST = 0.30  # strength of the faintest defect, as a share of the strongest
_strength = partial(beta_strong, faintest=WEAKEST, a=1.3, b=1.1)


@dataclass(frozen=True)
class Nut(Scene):
    """How this good one is: `turn` in degrees, `shine`, `lathe`, brightness `tone`, `lean` of the lamps in radians.

    What is wrong: `bent`: (blade, share along its outer edge, how large the piece is, how far it is bent);
    `flipped`: the other face is up.
    """

    marks: tuple[Line, ...] = ()
    turn: float = 0.0
    shine: float = 0.5
    lathe: float = 0.6
    tone: float = 1.0
    lean: float = 0.0
    bent: tuple[int, float, float, float] | None = None
    flipped: bool = False


def good(rng: np.random.Generator) -> Nut:
    return Nut(
        seed=new_seed(rng),
        turn=float(rng.uniform(-TURN, TURN)),
        shine=float(rng.uniform(*SHINE)),
        lathe=float(rng.uniform(*LATHE)),
        tone=about_one(rng, TONE),
        lean=float(rng.normal(1.9, 0.5)),
    )


@lru_cache(maxsize=1)
def _lattice() -> Array:
    """Signed distance of the outline without its bore, on a lattice over the canvas."""
    fine = 2 * LATTICE
    corners = [
        (radius * np.cos(-np.deg2rad(degrees + 90 * blade)), radius * np.sin(-np.deg2rad(degrees + 90 * blade)))
        for blade in range(4)
        for degrees, radius in BLADE
    ]
    sheet = Image.new("L", (fine, fine))
    ImageDraw.Draw(sheet).polygon([((x + 1) * fine / 2, (y + 1) * fine / 2) for x, y in corners], fill=255)
    inked = np.asarray(sheet) > 127
    field = ndimage.distance_transform_edt(~inked) - ndimage.distance_transform_edt(inked)
    return (field.reshape(LATTICE, 2, LATTICE, 2).mean((1, 3)) * (2 / fine)).astype(np.float32)


def turned(nut: Nut, u: Array, v: Array) -> tuple[Array, Array]:
    """Coordinates in which the blades stand as in the lattice: turned back, and mirrored where the nut is flipped."""
    c, s = np.float32(np.cos(np.deg2rad(nut.turn))), np.float32(np.sin(np.deg2rad(nut.turn)))
    a, b = c * u + s * v, c * v - s * u
    return (a, -b) if nut.flipped else (a, b)


def outline(nut: Nut, u: Array, v: Array) -> Array:
    """Signed distance of the nut, its bore cut out."""
    a, b = turned(nut, u, v)
    place = [(b + 1) * (LATTICE / 2) - 0.5, (a + 1) * (LATTICE / 2) - 0.5]
    body = ndimage.map_coordinates(_lattice(), place, order=1, mode="nearest", output=np.float32)
    return shapes.cut(body, np.hypot(u, v) - np.float32(BORE))


def _corner(nut: Nut, blade: int, share: float) -> tuple[float, float]:
    """The point of a blade's outer edge at this share of the way from its corner to its hook."""
    angle = -np.deg2rad(47 * share + 90 * blade) + np.deg2rad(nut.turn)
    return shapes.from_polar(TIP, angle)


def paint(nut: Nut, canvas: Canvas) -> Surface:
    u, v = nut.pose.to_part(canvas.x, canvas.y)
    u, v = u + 0 * v, v + 0 * u
    surface = Surface(canvas, (18, 18, 26))
    grit = noise.fractal(canvas.x, canvas.y, noise.stream(nut.seed, "ground"), (6, 8), 3)
    surface.tint(1.0 + 0.12 * grit)
    litter(surface, noise.stream(nut.seed, "dust"), 6, (0.004, 0.015), (60, 60, 64), opacity=(0.04, 0.16), fibres=0.1)
    facet = None
    if nut.bent:
        facet, u, v = _fold(nut, nut.bent, u, v)
    body = outline(nut, u, v)
    cover = canvas.cover(body, 0.006)
    face = _flip_side(nut, surface, u, v, body) if nut.flipped else _face(nut, surface, u, v, body)
    if nut.bent and facet is not None:
        wrinkle = noise.fractal(canvas.x, canvas.y, noise.stream(nut.seed, "wrinkle"), 12, 3)
        edge = 4 * facet * (1 - facet)
        dark = np.clip(0.55 + 0.45 * nut.bent[3] + 0.25 * wrinkle, 0, 0.97)
        face = face * (1 - facet * dark)[..., None] + (0.07 * nut.bent[3] * edge * (1 + wrinkle))[..., None]
    surface.lay(cover, face, 0.0, 0.0)
    for mark in nut.marks:
        at, reach = span(mark.points)
        draw_near(surface, u, v, mark, nut.pose.to_image(*at), reach + 2 * mark.width, cover)
    return surface


def _fold(nut: Nut, bent: tuple[int, float, float, float], u: Array, v: Array) -> tuple[Array, Array, Array]:
    """(how much of each sample lies on the bent piece, the coordinates pulled inwards there)."""
    blade, share, large, far = bent
    x, y = _corner(nut, blade, share)
    radius = np.hypot(x, y)
    slant = 0.7 * (share - 0.5)
    nx, ny = x / radius, y / radius
    nx, ny = nx * np.cos(slant) - ny * np.sin(slant), ny * np.cos(slant) + nx * np.sin(slant)
    beyond = (u - x) * nx + (v - y) * ny + large  # grows outwards from the fold
    side = np.exp(-((np.hypot(u - x, v - y) / (1.6 * large)) ** 4)).astype(np.float32)
    facet = np.clip(beyond / 0.02, 0, 1) * side
    pull = np.float32(0.55 * far) * np.maximum(beyond, 0) * side
    return facet.astype(np.float32), (u + pull * nx).astype(np.float32), (v + pull * ny).astype(np.float32)


def _face(nut: Nut, surface: Surface, u: Array, v: Array, body: Array) -> Array:
    """The color of the face, in linear light, with everything that shines on it."""
    canvas = surface.canvas
    rng = noise.stream(nut.seed, "face")
    radius, angle = shapes.polar(u, v)
    cloud = noise.fractal(canvas.x, canvas.y, rng, 2.2, 3)
    grain = noise.fractal(canvas.x, canvas.y, rng, 55, 3)
    spark = noise.fractal(canvas.x, canvas.y, rng, 80, 2)
    centre = rng.normal(0, 0.05, 2).astype(np.float32)
    track = np.interp(
        np.hypot(u - centre[0], v - centre[1]) * 160,
        np.arange(256),
        ndimage.gaussian_filter1d(rng.normal(0, 1, 256), 0.8),
    ).astype(np.float32)
    patchy = np.clip(0.5 + 1.3 * noise.fractal(canvas.x, canvas.y, rng, 3.5, 2), 0, 1)
    on_disc = canvas.cover(radius - DISC, 0.02)
    lamps = np.cos(angle - np.float32(nut.lean)) * (0.35 + 0.65 * np.cos(2 * angle - rng.normal(0.4, 0.6)))
    tilt = 0.6 * cloud + nut.shine * (lamps * np.clip(radius * 1.3, 0, 1))
    round_ = np.deg2rad(nut.turn + 36) - angle  # a blade's share of the circle begins in the notch before it
    which = np.floor(round_ / (np.pi / 2)).astype(np.int32) % 4
    along = round_ % (np.pi / 2) / np.float32(np.pi / 2) - 0.5
    level, slope = rng.normal(0, BLADES, (2, 4)).astype(np.float32)  # each blade is bent by a little
    tilt += (level[which] + slope[which] * along) * np.clip((radius - 0.54) / 0.08, 0, 1) * (0.4 + 0.6 * nut.shine)
    share = 0.36 + 0.33 * tilt + 0.12 * grain - 0.08 * on_disc
    share += 0.26 * nut.lathe * track * patchy * (1 - 0.75 * on_disc)
    colour = mix((26, 36, 34), (148, 174, 154), share)
    glint = np.clip(spark - 0.62 + 0.55 * nut.shine * tilt, 0, 1) * (0.35 + 0.9 * nut.shine)
    colour += glint[..., None] * linear((140, 184, 148)) * np.float32(1.1)
    gleam = np.clip(tilt + 0.25 * track * patchy - 0.75, 0, 0.5) * (0.5 + 0.5 * grain) * nut.shine
    colour += gleam[..., None] * linear((164, 212, 172))
    ring = np.exp(-(((radius - DISC - 0.012 * cloud) / 0.008) ** 2)) * np.clip(0.5 + patchy, 0, 1)
    colour += (0.09 * ring)[..., None]

    rim = np.exp(-(((body + 0.012) / 0.010) ** 2)) * (radius > FLANGE + 0.1)
    colour += rim[..., None] * linear((120, 132, 124)) * np.float32(0.9)
    phase = (np.deg2rad(nut.turn) - angle) % (np.pi / 2)
    hook = np.exp(-(((phase - np.deg2rad(44.5)) * radius / 0.045) ** 2)) * np.clip((radius - 0.58) / 0.08, 0, 1)
    colour += (linear((148, 152, 156)) * 0.95 - colour * 0.6) * (hook * (1 + 0.3 * cloud))[..., None]

    flange = canvas.cover(radius - FLANGE, 0.01)
    lit = 0.35 + 0.25 * np.cos(angle - np.float32(nut.lean) + 0.4) + 0.5 * np.clip((radius - 0.29) / 0.05, 0, 1) * 0.6
    smooth = mix((26, 31, 42), (120, 132, 146), lit + 0.06 * grain)
    for at, much in ((0.228, 0.10), (0.328, 0.12), (0.268, 0.05)):
        smooth += (much * np.exp(-(((radius - at) / 0.006) ** 2)) * (1 + 0.5 * cloud))[..., None]
    smooth *= (1 - 0.75 * np.exp(-(((radius - 0.246) / 0.009) ** 2)))[..., None]
    colour += (smooth - colour) * flange[..., None]
    return np.maximum(colour * np.float32(nut.tone), 0.0).astype(np.float32)


def _flip_side(nut: Nut, surface: Surface, u: Array, v: Array, body: Array) -> Array:
    """The color of the other face: smooth, dull and out of focus, with a bright ring round the bore."""
    canvas = surface.canvas
    rng = noise.stream(nut.seed, "flip side")
    radius, angle = shapes.polar(u, v)
    cloud = noise.fractal(canvas.x, canvas.y, rng, 3.0, 3)
    spark = noise.fractal(canvas.x, canvas.y, rng, 60, 2)
    colour = mix((30, 40, 38), (112, 136, 120), 0.42 + 0.2 * cloud + 0.05 * spark + 0.12 * np.sin(17 * radius))
    funnel = canvas.cover(radius - 0.44, 0.06)
    cross = 0.4 + 0.3 * np.abs(np.cos(2 * angle + 0.3)) + 0.3 * np.clip((radius - 0.36) / 0.06, -1, 1)
    colour += (mix((40, 46, 56), (126, 134, 150), cross) - colour) * funnel[..., None]
    collar = canvas.cover(np.abs(radius - 0.285) - 0.042, 0.008)
    colour += (mix((60, 76, 66), (166, 190, 160), 0.45 + 0.2 * spark + 0.15 * cloud) - colour) * collar[..., None]
    colour *= (1 - 0.6 * canvas.cover(radius - 0.238, 0.01))[..., None]
    colour += (0.05 * np.exp(-(((body + 0.012) / 0.012) ** 2)) * (radius > 0.4))[..., None]
    return np.maximum(colour * np.float32(nut.tone), 0.0).astype(np.float32)


def _on_steel(nut: Nut, rng: np.random.Generator) -> tuple[float, float]:
    """A point of a blade or of the disc."""
    radius, angle = rng.uniform(0.42, 0.78), -np.deg2rad(rng.uniform(8, 40) + 90 * rng.integers(4) - nut.turn)
    return shapes.from_polar(radius, angle)


def bent(nut: Nut, rng: np.random.Generator) -> Nut:
    how = _strength(rng)
    return replace(
        nut, bent=(int(rng.integers(4)), float(rng.choice([0.0, 0.5, 1.0])), 0.06 + 0.18 * how, 0.4 + 0.6 * how)
    )


def color(nut: Nut, rng: np.random.Generator) -> Nut:
    how, (x, y) = _strength(rng), _on_steel(nut, rng)
    ink = ((150, 34, 62), (26, 20, 20), (40, 44, 96))[rng.choice(3, p=[0.6, 0.3, 0.1])]
    heading = float(np.rad2deg(np.arctan2(y, x)) + rng.choice([0, 90]) + rng.normal(0, 10))
    strokes = [
        Line(
            wander(
                rng,
                (x + rng.normal(0, 0.02 + 0.05 * how), y + rng.normal(0, 0.02 + 0.05 * how)),
                heading + rng.normal(0, 7),
                0.08 + 0.26 * how,
                6,
                4,
            ),
            0.025 + 0.06 * how,
            new_seed(rng),
            colour=ink,
            opacity=rng.uniform(0.5, 0.8),
            ragged=0.9,
            taper=False,
        )
        for _ in range(1 + int(4 * how))
    ]
    return nut.with_marks(*strokes)


def flip(nut: Nut, rng: np.random.Generator) -> Nut:
    other = replace(nut, flipped=True, turn=nut.turn - 20 + float(rng.normal(0, 6)))
    return replace(other, region=lambda u, v: np.minimum(outline(nut, u, v), outline(other, u, v)))


def scratch(nut: Nut, rng: np.random.Generator) -> Nut:
    """A patch of hairlines that fan out, as a hard edge leaves that was dragged over the face."""
    how, (x, y) = _strength(rng), _on_steel(nut, rng)
    heading = float(np.rad2deg(np.arctan2(y, x)) + rng.normal(0, 25))
    colour = ((206, 210, 194), (44, 42, 42))[int(rng.random() < 0.4)]
    spread = 0.02 + 0.05 * how
    lines = []
    for _ in range(6 + int(12 * how)):
        start = x + rng.normal(0, spread), y + rng.normal(0, spread)
        path = wander(rng, start, heading + rng.normal(0, 22), 0.06 + 0.26 * how * rng.uniform(0.3, 1), 5, 3)
        opacity, width = (0.55 + 0.4 * how) * rng.uniform(0.6, 1), rng.uniform(0.008, 0.012) + 0.007 * how
        lines.append(Line(path, width, new_seed(rng), colour=colour, opacity=opacity, ragged=0.0))
    return nut.with_marks(*lines)


PART = Part(
    name="metal_nut",
    good=good,
    paint=paint,
    defects={"bent": bent, "color": color, "flip": flip, "scratch": scratch},
    light=Light(ambient=1.0, vignette=0.04),
    jitter=Jitter(shift=0.012, degrees=0.0, scale=0.008),
    blur=0.6,
)
