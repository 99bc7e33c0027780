"""Signed distances of simple shapes: negative inside, in the units of the coordinates given."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

Array = np.ndarray
Points = Sequence[tuple[float, float]]


def disc(x: Array, y: Array, centre: tuple[float, float], radius: float) -> Array:
    """A disc."""
    return np.hypot(x - np.float32(centre[0]), y - np.float32(centre[1])) - np.float32(radius)


def ring(x: Array, y: Array, centre: tuple[float, float], radius: float, width: float) -> Array:
    """A ring of this mean radius and width."""
    return np.abs(disc(x, y, centre, radius)) - np.float32(width / 2)


def box(x: Array, y: Array, centre: tuple[float, float], half: tuple[float, float], corner: float = 0.0) -> Array:
    """An upright rectangle of half sides `half` with corners rounded by `corner`."""
    qx = np.abs(x - np.float32(centre[0])) - np.float32(half[0] - corner)
    qy = np.abs(y - np.float32(centre[1])) - np.float32(half[1] - corner)
    outside = np.hypot(np.maximum(qx, 0.0), np.maximum(qy, 0.0))
    return outside + np.minimum(np.maximum(qx, qy), 0.0) - np.float32(corner)


def segment(x: Array, y: Array, start: tuple[float, float], end: tuple[float, float]) -> tuple[Array, Array]:
    """(distance to the segment, position along it from 0 to 1); subtract a radius for a rounded bar."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    px, py = x - np.float32(start[0]), y - np.float32(start[1])
    along = np.clip((px * np.float32(dx) + py * np.float32(dy)) / np.float32(dx * dx + dy * dy + 1e-12), 0.0, 1.0)
    return np.hypot(px - along * np.float32(dx), py - along * np.float32(dy)), along


def polyline(x: Array, y: Array, points: Points) -> tuple[Array, Array]:
    """(distance to a chain of segments, position along it from 0 to 1)."""
    lengths = [float(np.hypot(b[0] - a[0], b[1] - a[1])) for a, b in pairwise(points)]
    total, done = sum(lengths) or 1.0, 0.0
    best: Array | None = None
    where: Array = np.zeros(1, dtype=np.float32)
    for (a, b), length in zip(pairwise(points), lengths, strict=True):
        distance, along = segment(x, y, a, b)
        along = (done + along * length) / total
        if best is None:
            best, where = distance, along
        else:
            where = np.where(distance < best, along, where)
            best = np.minimum(best, distance)
        done += length
    if best is None:
        raise ValueError("a chain needs at least two points")
    return best, where.astype(np.float32)


def polygon(x: Array, y: Array, points: Points) -> Array:
    """A closed polygon, convex or not."""
    x, y = np.broadcast_arrays(x, y)
    distance = polyline(x, y, [*points, points[0]])[0]
    inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
        if ay == by:
            continue
        crosses = (ay > y) != (by > y)
        inside ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return np.where(inside, -distance, distance).astype(np.float32)


def polar(x: Array, y: Array) -> tuple[Array, Array]:
    """(radius, angle in radians) about the origin."""
    return np.hypot(x, y), np.arctan2(y, x)


def from_polar(radius: float, angle: float) -> tuple[float, float]:
    """The point at a radius and an angle (radians) about the origin."""
    return float(radius * np.cos(angle)), float(radius * np.sin(angle))


def join(a: Array, b: Array, soft: float = 0.0) -> Array:
    """Union of two shapes; `soft` rounds the seam."""
    if soft <= 0.0:
        return np.minimum(a, b)
    h = np.clip(0.5 + 0.5 * (b - a) / soft, 0.0, 1.0)
    return b + (a - b) * h - np.float32(soft) * h * (1.0 - h)


def cut(a: Array, b: Array) -> Array:
    """Shape `a` without shape `b`."""
    return np.maximum(a, -b)


def dome(distance: Array, radius: float) -> Array:
    """Height of a shape whose edge is rounded like a quarter circle of `radius`: 0 outside, `radius` well inside."""
    depth = np.clip(-distance / np.float32(radius), 0.0, 1.0)
    return (np.float32(radius) * np.sqrt(1.0 - (1.0 - depth) ** 2)).astype(np.float32)


def text(x: Array, y: Array, words: str, centre: tuple[float, float], height: float) -> Array:
    """Signed distance of words set in one line, capital letters `height` tall."""
    field, unit = _lettering(words)
    rows, columns = field.shape
    u = (x - np.float32(centre[0])) / np.float32(height) * unit + columns / 2 - 0.5
    v = (y - np.float32(centre[1])) / np.float32(height) * unit + rows / 2 - 0.5
    u, v = np.broadcast_arrays(u, v)
    sampled = ndimage.map_coordinates(field, [v, u], order=1, mode="nearest", output=np.float32)
    return sampled * np.float32(height / unit)


@lru_cache(maxsize=32)
def _lettering(words: str) -> tuple[Array, int]:
    """(signed distance in pixels, pixels a capital letter is tall), with room around."""
    unit = 64
    font = ImageFont.load_default(size=unit / 0.7)
    left, top, right, bottom = font.getbbox(words)
    margin = unit
    image = Image.new("L", (int(right - left) + 2 * margin, int(bottom - top) + 2 * margin))
    ImageDraw.Draw(image).text((margin - left, margin - top), words, fill=255, font=font)
    inked = np.asarray(image) > 127
    field = ndimage.distance_transform_edt(~inked) - ndimage.distance_transform_edt(inked)
    return field.astype(np.float32), unit
