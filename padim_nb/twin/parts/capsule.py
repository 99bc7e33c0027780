"""capsule: a lying two-tone capsule, one half near black, one orange, with an imprint on each, on white ground."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..marks import Blot, Line, scratches, wander
from ..scene import Part, Scene
from ..surface import Light, Surface, mix

HALF, RADIUS, SEAM = 0.50, 0.285, -0.06


@dataclass(frozen=True)
class Capsule(Scene):
    """`squeeze`: (position along, side, how deep) of a local dent; `imprint`: what went wrong with the print."""

    squeeze: tuple[float, float, float] | None = None
    imprint: str = "fine"


def good(rng: np.random.Generator) -> Capsule:
    return Capsule(seed=int(rng.integers(1 << 31)))


def paint(capsule: Capsule, canvas: Canvas) -> Surface:
    u, v = capsule.pose.to_part(canvas.x, canvas.y)
    gu, gv = capsule.pose.to_grain(canvas.x, canvas.y)
    u, v = u + 0 * v, v + 0 * u
    if capsule.squeeze:
        at, side, deep = capsule.squeeze
        pinch = deep * np.exp(-(((u - at) / 0.15) ** 2))
        v = np.where(v * side > 0, v * (1 + pinch / RADIUS), v)
    surface = Surface(canvas, (228, 229, 228))
    ground = noise.fractal(canvas.x, canvas.y, noise.stream(capsule.seed, "ground"), 3, 3)
    surface.tint(1 + 0.015 * ground)
    distance = shapes.segment(u, v, (-HALF, 0), (HALF, 0))[0]
    step = np.where(u < SEAM, 0.010, 0.0)  # the cap slides over the body
    shell = (distance - RADIUS - step).astype(np.float32)
    under = shapes.segment(u - 0.01, v - 0.05, (-HALF, 0), (HALF, 0))[0] - np.float32(RADIUS)
    surface.shadow(canvas.cover(under), 0.55, 0.06)
    cover = canvas.cover(shell)
    speck = noise.fractal(gu, gv, noise.stream(capsule.seed, "speck"), 40, 2)
    cloud = noise.fractal(gu, gv, noise.stream(capsule.seed, "cloud"), 4, 3)
    dark, orange = (
        mix((24, 24, 26), (54, 52, 54), 0.4 + 0.1 * speck + 0.2 * cloud),
        mix((176, 74, 24), (220, 116, 46), 0.55 + 0.10 * speck + 0.22 * cloud),
    )
    left = canvas.cover(u - SEAM)[..., None]
    height = np.sqrt(np.clip((RADIUS + step) ** 2 - np.minimum(distance, RADIUS + step) ** 2, 0, None)).astype(
        np.float32
    )
    surface.lay(cover, orange + (dark - orange) * left, 0.75 * height, 0.20)
    surface.tint(1 - 0.35 * np.exp(-(((u - SEAM - 0.008) / 0.010) ** 2)), cover)
    gleam = np.exp(-(((v + 0.125) / 0.030) ** 2)) * np.clip((HALF + 0.05 - np.abs(u)) / 0.12, 0, 1)
    surface.shine((0.34 * gleam * (1 + 0.25 * cloud)).astype(np.float32), cover)
    _imprint(capsule, surface, u, v, cover)
    capsule.draw_marks(surface, u, v, cover)
    return surface


def _imprint(capsule: Capsule, surface: Surface, u: Array, v: Array, within: Array) -> None:
    gu, gv = capsule.pose.to_grain(surface.canvas.x, surface.canvas.y)
    patch = noise.fractal(gu, gv, noise.stream(capsule.seed, "patch"), 10, 3)
    strength = np.clip(0.85 + 0.25 * patch, 0, 0.95)
    prints = [("500", (0.26, 0.045), 0.15, (226, 214, 198)), ("GX", (-0.36, 0.045), 0.15, (206, 206, 204))]
    for number, (words, (x, y), tall, colour) in enumerate(prints):
        spoilt = capsule.imprint != "fine" and number == (0 if capsule.imprint.endswith("right") else 1)
        ink = strength
        if spoilt and capsule.imprint.startswith("partial"):
            ink = np.clip(strength - np.clip((u - x) * 14 + 3 * patch, 0, 1), 0, 1)
        if spoilt and capsule.imprint.startswith("shifted"):
            x, y = x + 0.05, y - 0.13
        smear = 0.02 if spoilt and capsule.imprint.startswith("smeared") else 0.0
        cover = surface.canvas.cover(shapes.text(u, v, words, (x, y), tall) - smear * (1 + patch), smear * 3)
        surface.lay(cover * ink * within * (0.7 if smear else 1.0), colour)
        if spoilt and capsule.imprint.startswith("double"):
            ghost = surface.canvas.cover(shapes.text(u, v, words, (x + 0.035, y + 0.03), tall))
            surface.lay(ghost * ink * within * 0.8, colour)


def _on_shell(rng: np.random.Generator) -> tuple[float, float]:
    return float(rng.uniform(-0.6, 0.6)), float(rng.uniform(-0.17, 0.17))


def crack(capsule: Capsule, rng: np.random.Generator) -> Capsule:
    at = rng.uniform(-0.5, 0.5)
    path = wander(rng, (float(at), float(rng.uniform(-0.2, 0.0))), rng.uniform(40, 140), rng.uniform(0.2, 0.42), 35, 9)
    seed = int(rng.integers(1 << 31))
    return capsule.with_marks(
        Line(path, 0.030, seed, colour=(214, 196, 176), opacity=0.6, ragged=0.8),
        Line(path, 0.015, seed, colour=(18, 12, 10), depth=0.02, ragged=0.6),
    )


def faulty_imprint(capsule: Capsule, rng: np.random.Generator) -> Capsule:
    return replace(
        capsule, imprint=f"{rng.choice(['partial', 'shifted', 'smeared', 'double'])}-{rng.choice(['left', 'right'])}"
    )


def poke(capsule: Capsule, rng: np.random.Generator) -> Capsule:
    where, radius = _on_shell(rng), rng.uniform(0.03, 0.055)
    return capsule.with_marks(
        Blot(where, radius, int(rng.integers(1 << 31)), tint=(0.55, 0.5, 0.5), depth=0.06, rim=0.03, wobble=0.15),
    )


def scratch(capsule: Capsule, rng: np.random.Generator) -> Capsule:
    style = dict(depth=0.006, colour=(210, 188, 166), opacity=0.55)
    (along, across), heading = _on_shell(rng), rng.uniform(-25, 25)
    return capsule.with_marks(
        *scratches(rng, (along / 2, across), heading, 0.035, (0.15, 0.4), (0.008, 0.014), **style)
    )


def squeeze(capsule: Capsule, rng: np.random.Generator) -> Capsule:
    return replace(
        capsule, squeeze=(float(rng.uniform(-0.45, 0.45)), float(rng.choice([-1, 1])), float(rng.uniform(0.05, 0.11)))
    )


PART = Part(
    name="capsule",
    good=good,
    paint=paint,
    defects={"crack": crack, "faulty_imprint": faulty_imprint, "poke": poke, "scratch": scratch, "squeeze": squeeze},
    light=Light(towards=(-0.15, -0.7, 1.0), ambient=0.5, shininess=40, vignette=0.06),
    jitter=Jitter(shift=0.025, degrees=5.0, scale=0.015),
)
