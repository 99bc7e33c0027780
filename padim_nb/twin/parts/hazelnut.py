"""hazelnut: one nut on dark blue-grey ground, rolled and turned anyhow.

Seen is a body of revolution from any side: a reddish brown shell with darker grooves that run together at the pointed
tip, and at the other end a rough, fibrous base with a scalloped edge, now turned away, now facing the camera. Shape,
tone, grooves, the grey bloom near the tip, scuffs, pale specks and dark spots differ from nut to nut. Cracks reach
from a hairline to a gap, cuts from a scuff to a gouge, holes are drilled, prints are stamped with more or less ink.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy import ndimage

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..draws import how_strong, new_seed
from ..dust import draw_near, extent, specks
from ..marks import Blot, Line, Mark, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, mix

# Set by the published row of one detector: how much good nuts differ, and how strong defects are.
TILT = (-58.0, 38.0)  # degrees by which the tip leans towards the camera (negative: the base faces it)
TONES = 0.30  # how far the shell's colour strays from nut to nut
SPECKS, SCUFFS, SPOTS = 34, 9, 4  # at most so many of each on a good nut
FAINTEST, SKEW = 0.10, 1.3  # weakest strength of a defect, and how much weak ones outnumber strong ones
_strength = partial(how_strong, faintest=FAINTEST, skew=SKEW)

TURNS = 2048  # samples of a function of an angle


@dataclass(frozen=True)
class Nut(Scene):
    """`radius`, `long`, `point`, `flat`, `angular`: the outline; `tilt`: degrees the tip leans towards the camera;
    `cap`: degrees from the base's middle to its edge; `tone`: -1 pale to 1 dark; `bloom`: grey felt near the tip;
    `wear`: 0 to 1, how scuffed; `light`: how bright the exposure is.
    """

    marks: tuple[Blot | Line | Stamp, ...] = ()
    radius: float = 0.70
    long: float = 1.0
    point: float = 0.1
    flat: float = 0.9
    angular: float = 0.0
    tilt: float = 0.0
    cap: float = 45.0
    tone: float = 0.0
    bloom: float = 0.3
    wear: float = 0.3
    light: float = 1.0


def good(rng: np.random.Generator) -> Nut:
    return Nut(
        seed=new_seed(rng),
        radius=float(rng.uniform(0.59, 0.71)),
        long=float(rng.uniform(0.92, 1.10)),
        point=float(rng.uniform(0.07, 0.21)),
        flat=float(rng.uniform(0.84, 0.97)),
        angular=float(rng.uniform(0.0, 0.035)),
        tilt=float(rng.uniform(*TILT)),
        cap=float(rng.uniform(36, 56)),
        tone=float(np.clip(rng.normal(0, 0.5), -1, 1)),
        bloom=float(rng.uniform(0, 1) ** 2),
        wear=float(rng.uniform(0, 1) ** 1.5),
        light=float(rng.uniform(0.88, 1.12)),
    )


def _round(rng: np.random.Generator, smooth: float) -> Array:
    """A random function of an angle with mean 0 and deviation 1, `smooth` degrees wide: TURNS samples of a turn."""
    line = ndimage.gaussian_filter1d(rng.standard_normal(TURNS), smooth / 360 * TURNS, mode="wrap")
    return ((line - line.mean()) / line.std()).astype(np.float32)


def _at(line: Array, angle: Array) -> Array:
    """A function of an angle (radians) at every sample."""
    return line[(angle * np.float32(TURNS / (2 * np.pi))).astype(np.int32) & (TURNS - 1)]


def _outline(nut: Nut) -> Array:
    """Radius over angle (0 to the right, a quarter turn is down, the tip points up)."""
    angle = np.arange(TURNS) * (2 * np.pi / TURNS)
    lean = np.cos(np.deg2rad(nut.tilt))
    to_tip, to_base = (np.abs((angle - at + np.pi) % (2 * np.pi) - np.pi) for at in (1.5 * np.pi, 0.5 * np.pi))
    radius = 1.0 / np.hypot(np.cos(angle), np.sin(angle) / (1 + (nut.long - 1) * lean))
    radius *= 1 - nut.angular * np.cos(4 * angle + 1.0) - 0.05 * lean * np.cos(to_tip) * (1 + np.cos(2 * to_tip)) / 2
    radius += nut.point * np.clip(1.6 * lean - 0.6, 0, 1) * np.exp(-((to_tip / 0.30) ** 2))
    chord = (nut.flat + 0.16 * (1 - lean)) / np.maximum(np.cos(to_base), 0.05)
    radius = -np.logaddexp(-radius * 18, -chord * 18) / 18
    uneven = _round(noise.stream(nut.seed, "outline"), 22)
    return (nut.radius * (radius + 0.012 * uneven)).astype(np.float32)


def paint(nut: Nut, canvas: Canvas) -> Surface:
    surface = Surface(canvas, (31, 32, 37))
    grit = noise.fractal(canvas.x, canvas.y, noise.stream(nut.seed, "ground"), 60, 2)
    cloud = noise.fractal(canvas.x, canvas.y, noise.stream(nut.seed, "cloud"), 1.2, 2)
    surface.tint(1 + 0.10 * grit + 0.10 * cloud)
    rng = noise.stream(nut.seed, "dust")
    specks(surface, rng, int(rng.integers(0, 14)), (0.004, 0.010), (0.08, 0.35), (104, 102, 104))
    outline = _outline(nut)
    window = canvas.window(nut.pose.dx, nut.pose.dy, float(outline.max()) * nut.pose.scale + 0.08)
    corner = (window[0].start, window[1].start)
    x, y = canvas.x[:, window[1]], canvas.y[window[0]]
    u, v = nut.pose.to_part(x, y)
    gu, gv = nut.pose.to_grain(x, y)
    u, v = np.broadcast_arrays(u, v)
    part = surface.inset(window)
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    edge = _at(outline, angle)
    distance = radius - edge
    part.tint(1 - 0.35 * np.exp(-np.maximum(distance, 0) / 0.08))  # the ground darkens where the nut stands
    cover = canvas.cover(distance)
    ball_x, ball_y = u / edge, v / edge
    ball_z = np.sqrt(np.clip(1 - ball_x**2 - ball_y**2, 0, 1))
    lean = np.deg2rad(nut.tilt)
    c, s = np.float32(np.cos(lean)), np.float32(np.sin(lean))
    along = s * ball_z - c * ball_y  # 1 at the tip, -1 in the middle of the base
    bend = noise.fractal(gu, gv, noise.stream(nut.seed, "bend"), 1.6, 1)
    turn = np.arctan2(ball_x, s * ball_y + c * ball_z) + 0.05 * bend
    _shell(nut, part, cover, along, turn, gu, gv, bend)
    part.lay(cover, height=0.5 * np.float32(nut.radius) * ball_z)
    _base(nut, part, cover, along, turn, gu, gv)
    part.tint(1 - 0.55 * (1 - ball_z) ** 2.4, cover)
    _wear(nut, part, corner, u, v, cover)
    for mark in nut.marks:
        at, reach = mark.extent() if isinstance(mark, Stamp) else extent(mark)
        _draw_small(nut, part, corner, mark, at, reach, u, v, cover)
    surface.tint(nut.light)
    return surface


def _shell(nut: Nut, part: Surface, cover: Array, along: Array, turn: Array, gu: Array, gv: Array, bend: Array) -> None:
    rng = noise.stream(nut.seed, "shell")
    bands, grooves, lines = _round(rng, 6), _round(rng, 2.4), _round(rng, 0.6)
    wide, deep, thin = rng.uniform(0.09, 0.20), rng.uniform(0.09, 0.22), rng.uniform(0.03, 0.08)
    grooves = np.minimum(grooves, 0.6)  # dark lines on an even ground
    mottle = noise.fractal(gu, gv, noise.stream(nut.seed, "mottle"), 2.2, 3, 0.7)
    fine = noise.fractal(gu, gv, noise.stream(nut.seed, "fine"), 42, 2)
    ends = np.sqrt(np.clip(1 - along**2, 0.04, 1))
    fade = np.clip(0.75 + 0.5 * bend, 0.2, 1.2)
    light = wide * _at(bands, turn) + (deep * _at(grooves, turn) * fade + thin * _at(lines, turn)) * ends
    share = np.maximum(0.52 - TONES * nut.tone * 0.6 + light + 0.13 * mottle + 0.05 * fine, 0.14)
    red = float(rng.normal(0, TONES * 26))
    shell = mix((56 + 0.3 * red, 29, 24), (160 + red, 86 + 0.2 * red, 56 - 0.3 * red), share)
    part.lay(cover, shell, gloss=0.035)
    felt = np.clip((along - 0.35) / 0.6, 0, 1) * np.clip(0.5 + 0.7 * mottle + 0.3 * fine, 0, 1)
    felt += 0.25 * np.clip(mottle - 0.45, 0, 1)
    part.lay(cover * np.float32(0.55 * nut.bloom) * felt, (150, 122, 108))
    part.raise_by(0.0022 * _at(grooves, turn) * ends * cover)


def _base(nut: Nut, part: Surface, cover: Array, along: Array, turn: Array, gu: Array, gv: Array) -> None:
    rng = noise.stream(nut.seed, "base")
    scallop = _round(rng, 24) * 0.022 + _round(rng, 2.5) * rng.uniform(0.003, 0.02)
    tone, grey = rng.uniform(-0.25, 0.25), rng.uniform(0, 1)
    inside = np.float32(-np.cos(np.deg2rad(nut.cap))) + _at(scallop.astype(np.float32), turn) - along
    if inside.max() < -0.08:
        return
    fibre = noise.value(turn, along, noise.stream(nut.seed, "fibre"), (40, 9))
    rough = noise.fractal(gu, gv, noise.stream(nut.seed, "rough"), 26, 3, 0.7)
    share = 0.36 + tone + 0.24 * fibre + 0.26 * rough + 0.30 * np.clip(inside * 1.5, 0, 0.6)
    felt = mix((66, 42, 32), (176 - 16 * grey, 128 - 6 * grey, 94), share)
    part.tint(1 - 0.5 * np.exp(-((inside / 0.035) ** 2)), cover)
    rim = np.exp(-(((inside + 0.012) / 0.014) ** 2)) * np.clip(rough * 1.6 + 0.1, 0, 1)
    cap = cover * np.clip(inside / 0.02 + 0.5, 0, 1)
    part.lay(cap, felt, gloss=0.0)
    part.lay(rim * cover, (196, 150, 104))
    part.raise_by((0.007 * rough + 0.004 * fibre) * cap)


def _wear(nut: Nut, part: Surface, corner: tuple[int, int], u: Array, v: Array, cover: Array) -> None:
    """What lies on a good shell too: pale specks, scuffs and dark spots."""
    rng = noise.stream(nut.seed, "wear")
    for _ in range(int(rng.integers(2, int(4 + SPECKS * nut.wear)))):
        size = float(rng.uniform(0.004, 0.012))
        spot = Blot(_on_shell(rng, 0.62), size, new_seed(rng), colour=(206, 170, 138), soft=0.006)
        spot = replace(spot, opacity=float(rng.uniform(0.15, 0.75)), wobble=0.4, stretch=float(rng.uniform(1, 2)))
        _draw_small(nut, part, corner, spot, spot.centre, 0.03, u, v, cover)
    for _ in range(int(rng.integers(0, int(2 + SCUFFS * nut.wear)))):
        start, length = _on_shell(rng, 0.58), float(rng.uniform(0.03, 0.16))
        path = wander(rng, start, rng.normal(90, 50), length, 14, 4)
        line = Line(path, float(rng.uniform(0.007, 0.02)), new_seed(rng), colour=(190, 142, 108))
        line = replace(line, opacity=float(rng.uniform(0.12, 0.45)), ragged=0.9)
        _draw_small(nut, part, corner, line, start, length + 0.05, u, v, cover)
    for _ in range(int(rng.integers(0, int(1 + SPOTS * nut.wear)))):
        spot = Blot(_on_shell(rng, 0.58), float(rng.uniform(0.012, 0.05)), new_seed(rng), soft=0.03)
        shade = float(rng.uniform(0.25, 0.7))
        spot = replace(spot, tint=(1 - shade, 1 - shade, 1 - shade), wobble=0.6, stretch=float(rng.uniform(1, 1.8)))
        _draw_small(nut, part, corner, spot, spot.centre, 0.14, u, v, cover)


def _draw_small(
    nut: Nut,
    part: Surface,
    corner: tuple[int, int],
    mark: Mark,
    at: tuple[float, float],
    reach: float,
    u: Array,
    v: Array,
    within: Array,
) -> None:
    """Draw a mark in the window it fits in; `part` is itself a window, whose first row and column are `corner`."""
    draw_near(part, u, v, mark, nut.pose.to_image(*at), reach * nut.pose.scale, within, corner)


def _on_shell(rng: np.random.Generator, most: float = 0.42) -> tuple[float, float]:
    turn, reach = rng.uniform(0, 2 * np.pi), most * np.sqrt(rng.uniform(0.0, 1))
    return shapes.from_polar(reach, turn)


def crack(nut: Nut, rng: np.random.Generator) -> Nut:
    strength, seed = _strength(rng), new_seed(rng)
    x, y = _on_shell(rng)
    heading, length = rng.normal(90, 35), 0.18 + 0.55 * strength
    start = (x - np.cos(np.deg2rad(heading)) * length / 2, y - np.sin(np.deg2rad(heading)) * length / 2)
    path = wander(rng, (float(start[0]), float(start[1])), heading, length, 26, 9)
    width = 0.009 + 0.035 * strength
    lip = Line(path, width * 1.9, seed, colour=(206, 156, 108), opacity=0.15 + 0.5 * strength, ragged=0.9)
    gap = Line(path, width, seed, colour=(22, 11, 7), opacity=0.55 + 0.45 * strength, depth=0.03 * strength)
    marks: list[Blot | Line] = [lip, replace(gap, ragged=0.8)]
    if strength > 0.55:  # a piece of the shell is missing
        way = path[int(rng.integers(3, 7))]
        size = 0.05 + 0.17 * (strength - 0.55) / 0.45
        stretch, degrees = float(rng.uniform(1, 1.4)), float(rng.uniform(0, 180))
        torn = Blot(way, size * 1.14, seed, stretch, degrees, wobble=0.45, colour=(214, 176, 128))
        marks += [torn, replace(torn, radius=size, colour=(58, 26, 18), depth=0.06, grain=0.8)]
    return nut.with_marks(*marks)


def cut(nut: Nut, rng: np.random.Generator) -> Nut:
    strength = _strength(rng)
    marks = []
    for _ in range(1 + int(rng.integers(0, int(2 + 3 * strength)))):
        path = wander(rng, _on_shell(rng), rng.uniform(0, 360), 0.06 + 0.34 * strength * rng.uniform(0.6, 1), 9)
        line = Line(path, 0.013 + 0.032 * strength, new_seed(rng), colour=(208, 164, 122), ragged=0.7)
        marks.append(replace(line, opacity=0.45 + 0.5 * strength, depth=0.02 * strength, rim=0.006 * strength))
    return nut.with_marks(*marks)


def hole(nut: Nut, rng: np.random.Generator) -> Nut:
    strength, seed, where = _strength(rng), new_seed(rng), _on_shell(rng)
    radius = 0.016 + 0.042 * strength
    collar = Blot(where, radius * 1.5, seed, colour=(196, 146, 100), opacity=0.2 + 0.6 * strength, soft=0.012)
    drilled = Blot(where, radius, seed, colour=(20, 10, 8), opacity=0.6 + 0.4 * strength, depth=0.04, wobble=0.15)
    return nut.with_marks(replace(collar, wobble=0.35), drilled)


@dataclass(frozen=True)
class Stamp:
    """White letters pressed on with too little ink."""

    words: str
    centre: tuple[float, float]
    height: float
    degrees: float
    ink: float
    seed: int

    def extent(self) -> tuple[tuple[float, float], float]:
        """The middle, and how far the letters reach from there."""
        return self.centre, self.height * (0.7 * len(self.words) + 1)

    def draw(self, surface: Surface, u: Array, v: Array, within: Array | float = 1.0) -> None:
        angle = np.deg2rad(self.degrees)
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        x, y = u - self.centre[0], v - self.centre[1]
        ink = surface.canvas.cover(shapes.text(c * x + s * y, c * y - s * x, self.words, (0, 0), self.height) - 0.004)
        patchy = np.clip(self.ink * (1 + 0.8 * noise.fractal(u, v, noise.stream(self.seed, "ink"), 9, 3)), 0.0, 0.95)
        surface.lay(ink * patchy * within, (214, 206, 196))


def print_(nut: Nut, rng: np.random.Generator) -> Nut:
    strength, where = _strength(rng), _on_shell(rng)
    words = "".join(rng.choice(list("ABCDEHKLNRSTX234579"), int(rng.integers(2, 5))))
    height, ink = 0.07 + 0.10 * rng.uniform(0, 1), 0.16 + 0.7 * strength
    return nut.with_marks(Stamp(words, where, height, rng.uniform(0, 360), ink, new_seed(rng)))


PART = Part(
    name="hazelnut",
    good=good,
    paint=paint,
    defects={"crack": crack, "cut": cut, "hole": hole, "print": print_},
    light=Light(towards=(-0.25, -0.35, 1.0), ambient=0.38, shininess=10, occlusion=0.25, hollow=0.03),
    jitter=Jitter(shift=0.07, degrees=180, scale=0.02),
    blur=0.6,
)
