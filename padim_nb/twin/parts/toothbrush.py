"""toothbrush: a brush head from above on dark ground; tufts in a fixed layout, their colours and lean vary.

A tuft is a bundle of bristles: bright tips in the middle, strands that run outwards at its edge, dark between tufts.
On good brushes every tuft leans and spreads a little in its own way, some strands stick out, and the colours come in
several schemes. Defective ones have tufts pushed out of line, thinned or missing, loose bristles across the head, or
dirt, from hardly visible to plain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from .. import noise, shapes
from ..canvas import Array, Canvas, Jitter
from ..draws import how_strong, new_seed
from ..dust import draw_near, extent
from ..marks import Blot, Line, wander
from ..scene import Part, Scene
from ..surface import Colour, Light, Surface, linear, mix

# Set by the published row of one detector: how much good brushes differ, and how strong defects are.
LEAN, SPREAD = 0.010, 0.12  # how far tufts of a good brush lean, and how much wider than others they may be
STRAYS = 2  # at most so many bristles stick out of the tufts of a good brush
FAINTEST, SKEW = 0.30, 0.8  # weakest strength of a defect, and how much weak ones outnumber strong ones
_strength = partial(how_strong, faintest=FAINTEST, skew=SKEW)

COLUMNS, ROWS = (-0.285, -0.095, 0.095, 0.285), np.linspace(-0.74, 0.70, 10)
TUFT = 0.096
SCHEMES: tuple[tuple[Colour, Colour, Colour], ...] = (  # inner tufts, outer tufts, every third outer one
    ((222, 222, 220), (218, 220, 222), (84, 128, 190)),
    ((220, 220, 216), (196, 76, 68), (222, 220, 214)),
    ((214, 218, 212), (120, 176, 120), (216, 218, 212)),
    ((224, 218, 206), (222, 218, 208), (206, 170, 70)),
)


@dataclass(frozen=True)
class Brush(Scene):
    """`scheme` picks the colours; `splayed`: tuft -> (dx, dy, spread) pushed out of line; `thinned`: tuft
    -> share of the bristles that is left.
    """

    marks: tuple[Blot | Line, ...] = ()
    scheme: int = 0
    light: float = 1.0
    splayed: tuple[tuple[int, float, float, float], ...] = ()
    thinned: tuple[tuple[int, float], ...] = ()


def good(rng: np.random.Generator) -> Brush:
    return Brush(
        seed=new_seed(rng),
        scheme=int(rng.integers(len(SCHEMES))),
        light=float(rng.uniform(0.9, 1.1)),
    )


def tufts() -> list[tuple[float, float]]:
    """Where the tufts stand; the rows at both ends lack the outer two."""
    return [(x, float(y)) for r, y in enumerate(ROWS) for x in COLUMNS if abs(x) < 0.1 or 0 < r < len(ROWS) - 1]


def paint(brush: Brush, canvas: Canvas) -> Surface:
    u, v = brush.pose.to_part(canvas.x, canvas.y)
    gu, gv = brush.pose.to_grain(canvas.x, canvas.y)
    u, v = np.broadcast_arrays(u, v)
    surface = Surface(canvas)
    rough = noise.fractal(canvas.x, canvas.y, noise.stream(brush.seed, "ground"), 12, 4)
    surface.albedo[:] = mix((12, 12, 14), (28, 28, 31), 0.4 + 0.4 * rough)
    body = shapes.join(
        shapes.box(u, v, (0.0, -0.03), (0.45, 0.90), 0.38), shapes.box(u, v, (0, 1.05), (0.2, 0.4)), 0.15
    )
    surface.tint(1 - 0.5 * np.clip(0.7 - body / 0.12, 0, 1))
    plastic = noise.fractal(gu, gv, noise.stream(brush.seed, "plastic"), 3, 2)
    white = mix((134, 136, 140), (196, 198, 200), 0.5 + 0.2 * plastic)
    surface.lay(canvas.cover(body), white, shapes.dome(body, 0.10), 0.3)
    rng = noise.stream(brush.seed, "tufts")
    tips = noise.fractal(gu, gv, noise.stream(brush.seed, "tips"), 44, 2, 0.8)
    pushed = {n: rest for n, *rest in brush.splayed}
    left = dict(brush.thinned)
    for number, (x, y) in enumerate(tufts()):
        shift, lean = rng.normal(0, 0.008, 2), rng.normal(0, LEAN, 2)
        tone, spread = rng.normal(1.0, 0.07), SPREAD * rng.uniform(0, 1) ** 2
        seed = new_seed(rng)
        dx, dy, wider = pushed.get(number, (0.0, 0.0, 0.0))
        inner, outer, own = SCHEMES[brush.scheme]
        third = number % 3 == 0
        colour = linear(inner if abs(x) < 0.1 else own if third else outer) * np.float32(tone)
        root, tip = (x + shift[0], y + shift[1]), (x + shift[0] + lean[0] + dx, y + shift[1] + lean[1] + dy)
        share = left.get(number, 1.0)
        if share < 0.95:
            _socket(brush, surface, u, v, root)
        if share > 0.05:
            _tuft(brush, surface, u, v, root, tip, spread + wider, share, colour, tips, seed)
    _strays(brush, surface, u, v)
    for mark in brush.marks:
        at, reach = extent(mark)
        draw_near(surface, u, v, mark, brush.pose.to_image(*at), 1.1 * reach)
    surface.tint(brush.light)
    return surface


def _socket(brush: Brush, surface: Surface, u: Array, v: Array, place: tuple[float, float]) -> None:
    window = surface.canvas.window(*brush.pose.to_image(*place), TUFT)
    hole = shapes.disc(u[window], v[window], place, TUFT * 0.62)
    surface.albedo[window] *= 1 - 0.75 * surface.canvas.cover(hole)[..., None]


def _tuft(
    brush: Brush,
    surface: Surface,
    u: Array,
    v: Array,
    root: tuple[float, float],
    tip: tuple[float, float],
    spread: float,
    share: float,
    colour: Array,
    tips: Array,
    seed: int,
) -> None:
    """A bundle of bristles: bright tips in the middle, strands towards the edge, `share` of them left."""
    middle = brush.pose.to_image((root[0] + tip[0]) / 2, (root[1] + tip[1]) / 2)
    far = float(np.hypot(tip[0] - root[0], tip[1] - root[1]))
    window = surface.canvas.window(*middle, (TUFT * (1.5 + spread) + far / 2) * 1.1)
    u, v, tips = u[window], v[window], tips[window]
    if u.size < 4:
        return
    distance, along = shapes.segment(u, v, root, tip)
    x, y = u - np.float32(root[0]), v - np.float32(root[1])
    radius = np.hypot(x, y) + np.float32(1e-4)
    ways = noise.stream(seed, "strands")
    strands = noise.value(x / radius * 6, y / radius * 6, ways, 1.6)  # constant along each ray from the root
    edge = TUFT * (1 + spread * along) * (1 + (0.07 + 0.3 * spread) * strands) + 0.008 * tips
    cover = surface.canvas.cover(distance - edge, 0.012)
    if share < 1.0:
        cover = cover * np.clip((share - 0.5) * 4 + 1.6 * (0.6 * strands + tips) + 0.5, 0, 1)
    inner = np.clip((edge - distance) / TUFT, 0, 1)
    light = (0.36 + 0.62 * np.sqrt(inner)) * (1 + 0.40 * tips + 0.30 * strands * (1 - inner))
    surface.albedo[window] *= 1 - 0.5 * surface.canvas.cover(distance - edge - 0.02, 0.05)[..., None]
    surface.albedo[window] += (colour * np.maximum(light, 0.05)[..., None] - surface.albedo[window]) * cover[..., None]
    surface.height[window] += (0.12 + 0.05 * inner - surface.height[window]) * cover
    surface.gloss[window] *= 1 - cover


def _strays(brush: Brush, surface: Surface, u: Array, v: Array) -> None:
    """Single bristles of a good brush that do not lie with the others."""
    rng, places = noise.stream(brush.seed, "strays"), tufts()
    for _ in range(int(rng.integers(0, STRAYS + 1))):
        x, y = places[int(rng.integers(len(places)))]
        length, width = rng.uniform(0.05, 0.15), float(rng.uniform(0.006, 0.010))
        path = wander(rng, (x, y), rng.uniform(0, 360), length, 12, 3)
        line = Line(path, width, new_seed(rng), colour=(216, 216, 212), opacity=0.8, ragged=0)
        draw_near(surface, u, v, line, brush.pose.to_image(x, y), length + 0.03)


def defective(brush: Brush, rng: np.random.Generator) -> Brush:
    kind = rng.random()
    if kind < 0.45:
        return _splay(brush, rng, _strength(rng))
    if kind < 0.6:
        return _thin(brush, rng, _strength(rng))
    if kind < 0.85:
        return _loosen(brush, rng, _strength(rng))
    return _soil(brush, rng, _strength(rng))


def _splay(brush: Brush, rng: np.random.Generator, strength: float) -> Brush:
    """Tufts near each other are pushed one way, mostly outwards."""
    places = tufts()
    first = places[int(rng.choice([n for n, (x, _) in enumerate(places) if abs(x) > 0.1]))]
    reach = rng.uniform(0.05, 0.16 + 0.2 * strength)
    near = [n for n, (x, y) in enumerate(places) if np.hypot(x - first[0], y - first[1]) < reach]
    side, far = np.sign(first[0]), 0.035 + 0.16 * strength
    bent = tuple(
        (n, float(side * far * rng.uniform(0.7, 1.1)), float(rng.normal(0, 0.4 * far)), float(0.7 * strength))
        for n in near
    )
    return replace(brush, splayed=bent)


def _thin(brush: Brush, rng: np.random.Generator, strength: float) -> Brush:
    count = int(rng.integers(1, 3))
    gone = rng.choice(len(tufts()), count, replace=False)
    return replace(brush, thinned=tuple((int(n), float(max(0.0, 0.85 - strength))) for n in gone))


def _loosen(brush: Brush, rng: np.random.Generator, strength: float) -> Brush:
    """Loose bristles across the head."""
    places = tufts()
    x, y = places[int(rng.integers(len(places)))]
    hairs = []
    for _ in range(1 + int(rng.integers(0, int(2 + 3 * strength)))):
        start = (x + rng.normal(0, 0.05), y + rng.normal(0, 0.02))
        path = wander(rng, start, rng.uniform(0, 360), 0.14 + 0.35 * strength, 18, 6)
        hair = Line(path, 0.009 + 0.009 * strength, new_seed(rng), colour=(226, 226, 222), depth=-0.02)
        hairs.append(replace(hair, opacity=0.6 + 0.4 * strength, shadow=0.4 * strength))
    return brush.with_marks(*hairs)


def _soil(brush: Brush, rng: np.random.Generator, strength: float) -> Brush:
    where = tufts()[int(rng.integers(len(tufts())))]
    hue = [(60, 42, 30), (30, 60, 40), (150, 40, 36)][rng.integers(3)]
    dirt = Blot(where, 0.03 + 0.08 * strength, new_seed(rng), colour=hue, opacity=0.3 + 0.6 * strength)
    return brush.with_marks(replace(dirt, soft=0.02, wobble=0.5, grain=0.4))


PART = Part(
    name="toothbrush",
    good=good,
    paint=paint,
    defects={"defective": defective},
    light=Light(towards=(-0.4, -0.6, 1.0), ambient=0.5, shininess=24, vignette=0.08),
    jitter=Jitter(shift=0.02, degrees=1.8, scale=0.012),
)
