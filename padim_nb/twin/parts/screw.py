"""screw: a steel wood screw on pale, faintly specked ground, seen in grey; it fills most of the frame.

The screw lies in one of a few directions, turned a little, rolled about its axis anyhow: its thread begins elsewhere in
every image, its head shows more or less of its face and recess, and its steel is flecked and worn here and there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from .. import noise
from ..canvas import Array, Canvas, Jitter, Pose
from ..draws import between, new_seed, place
from ..scene import Part, Scene
from ..surface import Light, Surface

HEAD, NECK, THREAD, TIP = -0.78, -0.56, 0.02, 0.86  # along the axis: where each begins, and the end
PITCH, CREST, SHAFT, WIDE = 0.118, 0.058, 0.084, 0.262  # of the thread, its height, radius of shaft and head

# What good ones differ by, and how strong damage is. Set by one published row (see the benchmark of the twin).
DIRECTIONS, TURN = 12, 7.0  # directions that screws lie in, and the degrees that they stray from them
WEAR = 1.2  # average number of faint worn places on a good screw
SPECKS = 14.0  # average number of specks on the ground
WORN = (0.16, 0.45)  # how far a worn place differs from the steel around it, from 0 to 1
BLUNT, LEAN = (0.03, 0.14), (0.030, 0.120)  # of a manipulated front: spread evenly on a logarithmic scale
GOUGE = (0.020, 0.085)  # radius of a scratched place, likewise
STRENGTH = (0.35, 0.95)  # how far damage differs from the steel around it
FLAT = (0.10, 0.34)  # length of thread that is flattened at its side, likewise


@dataclass(frozen=True)
class Patch:
    """A worn or scratched place: half axes along and across, turned; `level` is its grey, `much` how far it covers."""

    at: tuple[float, float]
    axes: tuple[float, float]
    degrees: float
    level: float
    much: float
    seed: int


@dataclass(frozen=True)
class Screw(Scene):
    """`roll`: turn about its axis, in turns; `face`: half width of the head's face as seen; `tip`: (how much is
    blunted, how far it is bent, how mangled it is); `flats`: (position, length, side, share of the crest) of
    flattened thread; `specks`: (x, y, radius, grey) on the ground.
    """

    roll: float = 0.0
    face: float = 0.04
    recess: float = 0.0
    dark: float = 1.0
    tip: tuple[float, float, float] = (0.0, 0.0, 0.0)
    flats: tuple[tuple[float, float, float, float], ...] = ()
    patches: tuple[Patch, ...] = ()
    specks: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True)
class Lying(Jitter):
    """Near one of a few directions, about the middle."""

    def draw(self, rng: np.random.Generator) -> Pose:
        dx, dy, grow = rng.uniform(-1.0, 1.0, 3)
        degrees = 360.0 / DIRECTIONS * rng.integers(DIRECTIONS) + rng.uniform(-TURN, TURN)
        return Pose(float(dx * self.shift), float(dy * self.shift), float(degrees), float(1 + grow * self.scale))


def _patch(
    rng: np.random.Generator, at: tuple[float, float] | Array, radius: float, much: float, level: float | None = None
) -> Patch:
    stretch = rng.uniform(1.0, 2.2)
    if level is None:
        level = rng.uniform(185, 235) if rng.random() < 0.75 else rng.uniform(35, 60)
    return Patch(
        (float(at[0]), float(at[1])),
        (float(radius * stretch), float(radius / stretch)),
        float(rng.uniform(0, 180)),
        float(level),
        float(much),
        new_seed(rng),
    )


def good(rng: np.random.Generator) -> Screw:
    worn = []
    for _ in range(rng.poisson(WEAR)):
        at = rng.uniform(HEAD + 0.02, TIP - 0.1)
        reach = 0.15 if at < NECK else 0.05
        worn.append(_patch(rng, (at, rng.uniform(-reach, reach)), between(rng, 0.012, 0.03), rng.uniform(*WORN)))
    specks = tuple(
        (*place(rng, 1.0), between(rng, 0.004, 0.013), float(rng.uniform(120, 190))) for _ in range(rng.poisson(SPECKS))
    )
    return Screw(
        seed=new_seed(rng),
        roll=float(rng.uniform(0, 1)),
        face=float(rng.uniform(0.025, 0.075)),
        recess=float(rng.uniform(0, 1)),
        dark=float(rng.normal(1.0, 0.05)),
        patches=tuple(worn),
        specks=specks,
    )


def paint(screw: Screw, canvas: Canvas) -> Surface:
    u, v = screw.pose.to_part(canvas.x, canvas.y)
    ground = noise.fractal(canvas.x, canvas.y, noise.stream(screw.seed, "ground"), 1.2, 2)
    grey = 197.0 + 3.5 * ground - 7.0 * canvas.y + 0 * canvas.x
    for x, y, radius, level in screw.specks:
        window = canvas.window(x, y, 3 * radius)
        there = canvas.cover(np.hypot(canvas.x[:, window[1]] - x, canvas.y[window[0]] - y) - radius, radius)
        grey[window] += (level - grey[window]) * there * 0.5
    near = np.flatnonzero((np.abs(v) < 0.33) & (np.abs(u) < 1.0))
    along, across = u.ravel()[near], v.ravel()[near]
    distance, steel = _steel(screw, along, across)
    cover = canvas.flat()
    cover.ravel()[near] = canvas.cover(distance)
    grey = (grey * (1 - 0.30 * _shadow(u, v, canvas))).astype(np.float32)
    flat = grey.ravel()
    flat[near] += (steel - flat[near]) * cover.ravel()[near]
    surface = Surface(canvas)
    light = (np.clip(grey, 0, 255) / np.float32(255)) ** np.float32(2.2)
    surface.albedo[:] = light.astype(np.float32)[..., None]
    return surface


def _shadow(u: Array, v: Array, canvas: Canvas) -> Array:
    """What a whole screw keeps from the ground around it, the lamp being above and to the left, four times coarser.

    A damaged one casts the same shadow: what is masked is the damage, not how its shadow changes.
    """
    u, v = u[1::4, 1::4], v[1::4, 1::4]
    cone = WIDE - (WIDE - SHAFT) * np.clip((u - HEAD - 0.03) / (NECK - HEAD - 0.03), 0, 1)
    half = np.where(u < NECK, cone, (SHAFT + 0.4 * CREST) * np.clip((TIP - 0.06 - u) / 0.2, 0, 1))
    step = 4 * float(canvas.step)
    cover = np.clip(0.5 - np.maximum(np.abs(v) - half, np.maximum(u - TIP, HEAD - u)) / step, 0, 1)
    wide = ndimage.shift(ndimage.gaussian_filter(cover, 0.10 / step), (0.055 / step, 0.03 / step), order=1)
    tight = ndimage.shift(ndimage.gaussian_filter(cover, 0.018 / step), (0.018 / step, 0.012 / step), order=1)
    soft = np.clip(1.8 * wide + 0.8 * tight, 0, 1.6)
    return ndimage.zoom(soft, canvas.samples / len(soft), order=1).astype(np.float32)


def _field(screw: Screw, name: str, u: Array, v: Array, frequency: tuple[float, float]) -> Array:
    return noise.value(u[:, None], v[:, None], noise.stream(screw.seed, name), frequency)[:, 0]


def _steel(screw: Screw, u: Array, v: Array) -> tuple[Array, Array]:
    """(signed distance to the silhouette, grey level of the steel) at points along and across the axis."""
    blunt, lean, mangled = screw.tip
    end = TIP - blunt
    v = v - lean * np.clip((u - TIP + 0.20) / 0.20, 0, 1) ** 2
    coarse = _field(screw, "coarse", u, v, (7, 16))
    fine = _field(screw, "fine", u, v, (34, 60))
    if mangled:
        at_tip = np.clip((u - end + 0.13) / 0.08, 0, 1)
        lumps = _field(screw, "lumps", u, v, (30, 30))
        v = v + mangled * at_tip * lumps
    taper = np.clip((end - u) / 0.24, 0, 1) ** 0.75
    cone = WIDE - (WIDE - SHAFT) * np.clip((u - HEAD - 0.03) / (NECK - HEAD - 0.03), 0, 1) ** 0.85
    core = np.where(u < NECK, cone, np.where(u < THREAD, SHAFT, 0.86 * SHAFT * (0.12 + 0.88 * taper)))
    # the thread: distance to the nearest crest, in turns
    turn = (u - THREAD) / PITCH + screw.roll + 0.22 * np.clip(v / (SHAFT + CREST), -1, 1)
    d = turn - np.rint(turn)
    on = np.clip((u - THREAD - 0.02 * coarse) / 0.06, 0, 1) * np.clip((end - 0.015 - u) / 0.05, 0, 1)
    ridge = on * np.clip(1 - np.abs(d) / 0.17, 0, 1) ** 0.75
    crest = CREST * (0.40 + 0.60 * taper)
    for at, length, side, share in screw.flats:
        worn = np.clip((length / 2 - np.abs(u - at)) / 0.012, 0, 1) * np.clip(v * side / 0.05, 0, 1)
        ridge = ridge * (1 - share * worn)
    half = core + crest * ridge
    distance = np.maximum(np.abs(v) - half, np.maximum(u - end, HEAD - u))
    face = np.hypot((u - HEAD) / screw.face, v / WIDE) - 1
    distance = np.minimum(distance, face * screw.face)

    # light: a bright band along the cylinder, moved by the direction it lies in
    lamp = 0.35 * np.sin(np.deg2rad(screw.pose.degrees - 35.0))
    s = v / np.maximum(core, 0.015)
    streaks = _field(screw, "streaks", u, v, (2.5, 90))
    band = np.exp(-(((s - lamp) / 0.50) ** 2))
    grey = 70 + 56 * band + 34 * np.exp(-(((s - lamp - 0.1) / 0.13) ** 2)) - 18 * np.clip(np.abs(s), 0, 1) ** 4
    grey = grey + 6 * coarse + 9 * fine + 11 * streaks * (0.4 + band)
    head = np.clip((NECK - 0.02 - u) / 0.05, 0, 1)
    grey += (80 + 24 * np.exp(-(((s - lamp) / 0.5) ** 2)) + 7 * fine + 6 * coarse + 9 * streaks - grey) * head
    rim = np.clip(1 - np.abs(u - HEAD - 0.03) / 0.018, 0, 1) * head
    grey += 18 * rim
    blade = np.clip(1.6 - np.abs(d) / 0.11, 0, 1) * on
    beside = np.exp(-(((d - 0.26) / 0.12) ** 2)) * on
    grey = grey * (1 - 0.34 * beside) + blade * (np.where(d < 0, 80.0, 46.0) - grey) * 0.9
    grey += 52 * np.exp(-(((d + 0.03) / 0.04) ** 2)) * on * np.clip(1 - (s - lamp) ** 2 / 2.2, 0.1, 1)
    inside = np.clip(-face * screw.face / 0.008, 0, 1)
    grey += (112 + 14 * fine - grey) * inside
    x, y = (u - HEAD) / screw.face, v / WIDE
    angle = np.arctan2(y, x)
    star = np.hypot(x, y) - 0.40 * (1 + 0.16 * np.cos(6 * angle + 2 * np.pi * screw.recess))
    hollow = np.clip(-star / 0.10, 0, 1)
    grey += (np.where(x > 0.1, 52.0, 150.0) + 30 * coarse - grey) * hollow * 0.85
    grey = grey * screw.dark
    for patch in screw.patches:
        grey = _worn(patch, u, v, grey)
    return distance.astype(np.float32), np.clip(grey, 8, 250).astype(np.float32)


def _worn(patch: Patch, u: Array, v: Array, grey: Array) -> Array:
    reach = max(patch.axes) * 1.6
    there = np.flatnonzero((np.abs(u - patch.at[0]) < reach) & (np.abs(v - patch.at[1]) < reach))
    x, y = u[there] - patch.at[0], v[there] - patch.at[1]
    c, s = np.cos(np.deg2rad(patch.degrees)), np.sin(np.deg2rad(patch.degrees))
    radius = np.hypot((c * x + s * y) / patch.axes[0], (c * y - s * x) / patch.axes[1])
    rng = noise.stream(patch.seed, "patch")
    rough = noise.value(x[:, None], y[:, None], rng, 1.6 / max(patch.axes))[:, 0]
    lines = noise.value(x[:, None], y[:, None], rng, 3.0 / min(patch.axes))[:, 0]
    cover = np.clip((1 + 0.45 * rough - radius) / 0.25, 0, 1) * patch.much
    edge = np.exp(-(((radius - 1 - 0.45 * rough) / 0.18) ** 2)) * patch.much
    grey = grey.copy()
    grey[there] += (patch.level * (1 + 0.22 * lines) - grey[there]) * cover - 28 * edge
    return grey


def manipulated_front(screw: Screw, rng: np.random.Generator) -> Screw:
    """The tip is cut off, bent or crushed."""
    kind = rng.integers(3)
    blunt = between(rng, *BLUNT) if kind != 1 else float(rng.uniform(0, 0.02))
    lean = float(rng.choice([-1, 1])) * (between(rng, *LEAN) if kind != 0 else float(rng.uniform(0, 0.015)))
    return replace(
        screw, tip=(blunt, lean, float(rng.uniform(0.0, 0.02)) if kind != 2 else float(rng.uniform(0.01, 0.04)))
    )


def _scratched(screw: Screw, rng: np.random.Generator, start: float, end: float, reach: float) -> Screw:
    first = np.array([rng.uniform(start, end), rng.uniform(-reach, reach)])
    much = rng.uniform(*STRENGTH)
    places = [
        _patch(rng, first + (rng.normal(0, 0.03, 2) if n else 0), between(rng, *GOUGE), much)
        for n in range(rng.integers(1, 4))
    ]
    return replace(screw, patches=screw.patches + tuple(places))


def scratch_head(screw: Screw, rng: np.random.Generator) -> Screw:
    return _scratched(screw, rng, HEAD + 0.0, NECK - 0.05, 0.14)


def scratch_neck(screw: Screw, rng: np.random.Generator) -> Screw:
    return _scratched(screw, rng, NECK + 0.02, THREAD - 0.02, 0.045)


def thread_side(screw: Screw, rng: np.random.Generator) -> Screw:
    length = between(rng, *FLAT)
    flat = (
        float(rng.uniform(THREAD + 0.1, TIP - 0.25)),
        length,
        float(rng.choice([-1, 1])),
        float(rng.uniform(0.6, 1.0)),
    )
    return replace(screw, flats=(*screw.flats, flat))


def thread_top(screw: Screw, rng: np.random.Generator) -> Screw:
    return _scratched(screw, rng, THREAD + 0.05, TIP - 0.2, 0.06)


PART = Part(
    name="screw",
    good=good,
    paint=paint,
    defects={
        "manipulated_front": manipulated_front,
        "scratch_head": scratch_head,
        "scratch_neck": scratch_neck,
        "thread_side": thread_side,
        "thread_top": thread_top,
    },
    light=Light(ambient=1.0, vignette=0.04),
    jitter=Lying(shift=0.030, scale=0.012),
    grey=True,
    blur=0.5,
)
