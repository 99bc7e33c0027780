"""screw: a steel wood screw on light ground, lying at any angle, small in the picture, seen in grey."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .. import noise
from ..canvas import Array, Canvas, Jitter
from ..marks import Line, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, mix

HEAD, NECK, THREAD, TIP = -0.60, -0.40, -0.12, 0.60  # along the axis: where each begins, and the end
TURNS, CREST, SHAFT, WIDE = 11.0, 0.030, 0.062, 0.150  # threads, their height, radius of shaft and head


@dataclass(frozen=True)
class Screw(Scene):
    """`tip`: (how much is blunted, how far it is bent); `flat`: (position, length, side) of flattened crests;
    `nick`: (position, across, size) of a dent on a crest inside the outline.
    """

    tip: tuple[float, float] = (0.0, 0.0)
    flat: tuple[float, float, float] | None = None
    nick: tuple[float, float, float] | None = None


def good(rng: np.random.Generator) -> Screw:
    return Screw(seed=int(rng.integers(1 << 31)))


def paint(screw: Screw, canvas: Canvas) -> Surface:
    u, v = screw.pose.to_part(canvas.x, canvas.y)
    surface = Surface(canvas, (196, 196, 196))
    ground = noise.fractal(canvas.x, canvas.y, noise.stream(screw.seed, "ground"), 2, 3)
    surface.tint(1 + 0.03 * ground)
    blunt, lean = screw.tip
    v = v - lean * np.clip((u - TIP + 0.16) / 0.16, 0, 1) ** 2
    half, ridge = _profile(screw, u, v, TIP - blunt)
    distance = np.abs(v) - half
    surface.shadow(canvas.cover(np.abs(v - 0.02) - half), 0.45, 0.03)
    cover = canvas.cover(distance)
    round_ = np.sqrt(np.clip(1 - (v / np.maximum(half, 1e-3)) ** 2, 0, 1)).astype(np.float32)
    wear = noise.fractal(u, v, noise.stream(screw.seed, "wear"), (9, 22), 3)
    steel = mix((92, 92, 92), (188, 188, 188), 0.50 + 0.28 * wear + 0.22 * ridge)
    height = half * round_ * 0.8 + 0.5 * CREST * ridge * round_
    if screw.nick:
        at, across, size = screw.nick
        dent = np.exp(-(((u - at) ** 2 + (v - across) ** 2) / size**2))
        height -= 0.045 * dent
        steel = steel * (1 - 0.45 * dent)[..., None]
    surface.lay(cover, steel, height.astype(np.float32), 0.40)
    screw.draw_marks(surface, u, v, cover)
    return surface


def _profile(screw: Screw, u: Array, v: Array, end: float) -> tuple[Array, Array]:
    """(half width of the silhouette, height of the thread from 0 in a groove to 1 on a crest)."""
    head = WIDE - (WIDE - SHAFT) * np.clip((u - HEAD - 0.035) / (NECK - HEAD - 0.035), 0, 1) ** 0.8
    taper = np.clip((end - u) / 0.20, 0, 1) ** 0.7
    core = np.where(u < NECK, head, SHAFT * 0.94) * np.where(u > NECK, taper, 1.0)
    on_thread = np.clip((u - THREAD) / 0.05, 0, 1) * np.clip((end - 0.01 - u) / 0.05, 0, 1)
    slant = 0.24 * np.clip(v / (SHAFT + CREST), -1, 1)  # half a turn between the two sides of the silhouette
    phase = (u - THREAD) / (TIP - THREAD) * TURNS + slant
    saw = np.abs(phase - np.floor(phase) - 0.5) * 2
    ridge = on_thread * np.clip(1.25 - 1.7 * saw, 0, 1)
    if screw.flat:
        at, length, side = screw.flat
        worn = np.clip((length / 2 - np.abs(u - at)) / 0.02, 0, 1) * (v * side > 0)
        ridge = ridge * (1 - 0.9 * worn)
    half = core + CREST * ridge * (0.35 + 0.65 * taper)
    half = np.where((u < HEAD) | (u > end), -0.01, half)
    return half.astype(np.float32), ridge.astype(np.float32)


def manipulated_front(screw: Screw, rng: np.random.Generator) -> Screw:
    if rng.random() < 0.5:
        return replace(screw, tip=(float(rng.uniform(0.05, 0.12)), 0.0))
    return replace(screw, tip=(float(rng.uniform(0, 0.03)), float(rng.choice([-1, 1]) * rng.uniform(0.05, 0.10))))


def _scratches(screw: Screw, rng: np.random.Generator, start: float, end: float, reach: float) -> Screw:
    return screw.with_marks(
        *(
            Line(
                wander(
                    rng,
                    (float(rng.uniform(start, end)), float(rng.uniform(-reach, reach))),
                    rng.uniform(0, 360),
                    rng.uniform(0.06, 0.13),
                    15,
                    5,
                ),
                rng.uniform(0.014, 0.022),
                int(rng.integers(1 << 31)),
                colour=(232, 232, 232) if rng.random() < 0.6 else (50, 50, 50),
                opacity=0.75,
                depth=0.015,
            )
            for _ in range(rng.integers(1, 4))
        )
    )


def scratch_head(screw: Screw, rng: np.random.Generator) -> Screw:
    return _scratches(screw, rng, HEAD + 0.03, NECK - 0.08, 0.09)


def scratch_neck(screw: Screw, rng: np.random.Generator) -> Screw:
    return _scratches(screw, rng, NECK + 0.02, THREAD - 0.02, 0.04)


def thread_side(screw: Screw, rng: np.random.Generator) -> Screw:
    return replace(
        screw, flat=(float(rng.uniform(0.0, 0.40)), float(rng.uniform(0.06, 0.15)), float(rng.choice([-1, 1])))
    )


def thread_top(screw: Screw, rng: np.random.Generator) -> Screw:
    return replace(
        screw,
        nick=(float(rng.uniform(-0.02, 0.42)), float(rng.uniform(-0.045, 0.045)), float(rng.uniform(0.020, 0.036))),
    )


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
    light=Light(towards=(-0.5, -0.6, 1.0), ambient=0.34, shininess=14, occlusion=0.3, hollow=0.03, vignette=0.12),
    jitter=Jitter(shift=0.05, degrees=180, scale=0.04),
    grey=True,
    blur=0.6,
)
