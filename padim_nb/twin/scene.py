"""From a category's rules to one image with an exact mask: a defect is an edit of the scene, rendered again."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from scipy import ndimage

from . import noise
from .canvas import Array, Canvas, Jitter, Pose
from .marks import Mark
from .surface import Light, Surface, expose, shade

VISIBLE = 3.0  # grey levels by which a pixel must change to belong to the mask
SMALLEST = 2.5e-4  # share of the image that a defect must show on; fainter draws are drawn again
DRAWS = 12

Region = Callable[[Array, Array], Array]
S = TypeVar("S", bound="Scene")


@dataclass(frozen=True)
class Scene:
    """Everything that decides how one part looks; each category adds its own fields.

    `marks` are damage laid over the part. `region` is a signed distance in the part's coordinates: the whole place
    to be masked when a part is missing, swapped, flipped or misplaced, as MVTec's annotators do.
    """

    seed: int
    pose: Pose = Pose()
    exposure: float = 1.0
    marks: tuple[Mark, ...] = ()
    region: Region | None = None

    def with_marks(self: S, *marks: Mark) -> S:
        """The same scene with these marks added."""
        return replace(self, marks=self.marks + marks)

    def draw_marks(self, surface: Surface, u: Array, v: Array, within: Array | float = 1.0) -> None:
        """Draw every mark, in the part's coordinates, where `within` allows it."""
        for mark in self.marks:
            mark.draw(surface, u, v, within)


@dataclass(frozen=True)
class Part(Generic[S]):
    """One category: how a good one is drawn and painted, what can go wrong with it, and how it is photographed.

    `jitter` and the strengths inside `defects` are the category's two difficulty knobs, set once for all methods.
    """

    name: str
    good: Callable[[np.random.Generator], S]
    paint: Callable[[S, Canvas], Surface]
    defects: Mapping[str, Callable[[S, np.random.Generator], S]]
    light: Light = Light()
    jitter: Jitter = Jitter()
    grey: bool = False
    blur: float = 0.7  # lens, in pixels
    grain: float = 1.3  # sensor noise, in grey levels at mid grey


@dataclass(frozen=True)
class Rendering:
    """A rendered sample: `image` and its defect-free self `good` uint8 (h, w, 3), `mask` bool (h, w)."""

    image: Array
    good: Array
    mask: Array


def render(part: Part[S], split: str, defect: str, index: int, seed: int = 0, size: int = 256) -> Rendering:
    """Image number `index` of a split and defect folder; the same arguments give the same bytes anywhere."""
    rng = np.random.default_rng([seed, index, *(zlib.crc32(word.encode()) for word in (part.name, split, defect))])
    canvas = Canvas(size)
    scene = part.good(rng)
    scene = replace(scene, pose=part.jitter.draw(rng), exposure=float(rng.normal(1.0, 0.012)))
    clean = _photograph(part, scene, canvas)
    grain = noise.stream(scene.seed, "sensor").standard_normal(clean.shape[:2] + ((1,) if part.grey else (3,)))
    good = _digitise(clean, grain, part)
    if defect == "good":
        return Rendering(good, good, np.zeros((size, size), dtype=bool))
    for draw in range(DRAWS):
        edited = part.defects[defect](scene, np.random.default_rng([int(rng.integers(1 << 62)), draw]))
        spoilt = _photograph(part, edited, canvas)
        mask = _where_it_shows(clean, spoilt, edited, canvas)
        if mask.mean() >= SMALLEST:
            break
    else:
        raise AssertionError(f"{part.name}/{defect} {index} (seed {seed}) does not show at {size} px in {DRAWS} draws")
    reach = ndimage.binary_dilation(mask, iterations=_pixels(size, 2))
    image = _digitise(np.where(reach[..., None], spoilt, clean), grain, part)
    return Rendering(image, good, mask)


def _photograph(part: Part[S], scene: S, canvas: Canvas) -> Array:
    light = replace(part.light, exposure=part.light.exposure * scene.exposure)
    levels = expose(shade(part.paint(scene, canvas), light), part.blur)
    return levels.mean(-1, keepdims=True).repeat(3, -1) if part.grey else levels


def _where_it_shows(clean: Array, spoilt: Array, scene: Scene, canvas: Canvas) -> Array:
    shows = np.abs(spoilt - clean).max(-1) > VISIBLE
    around = ndimage.generate_binary_structure(2, 1)
    closed = ndimage.binary_closing(np.pad(shows, 8), around, iterations=_pixels(canvas.size, 2))[8:-8, 8:-8] | shows
    closed = ndimage.binary_fill_holes(closed)
    if scene.region is None:
        return closed
    middle = ((np.arange(canvas.size, dtype=np.float32) + 0.5) / canvas.size) * 2 - 1
    return closed | (scene.region(*scene.pose.to_part(middle[None, :], middle[:, None])) < 0)


def _digitise(levels: Array, grain: Array, part: Part) -> Array:
    spread = part.grain * (0.6 + 0.4 * np.sqrt(np.maximum(levels, 0.0) / 128.0))
    return np.clip(np.rint(levels + spread * grain), 0, 255).astype(np.uint8)


def _pixels(size: int, at_256: int) -> int:
    return max(1, round(at_256 * size / 256))
