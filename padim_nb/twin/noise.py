"""Random fields over unit coordinates: the same seed gives the same field at any image size."""

from __future__ import annotations

import zlib

import numpy as np
from scipy.spatial import cKDTree

Array = np.ndarray
_TABLE = 256  # lattice cells before a field repeats; a power of two
_MASK = np.int32(_TABLE - 1)


def stream(seed: int, name: str) -> np.random.Generator:
    """A generator for one named ingredient of a scene, so that editing one leaves all others as they were."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def value(x: Array, y: Array, rng: np.random.Generator, frequency: float | tuple[float, float]) -> Array:
    """Smooth noise with `frequency` cells a unit (one number, or one for x and one for y): mean 0, roughly -1 to 1."""
    fx, fy = np.broadcast_to(frequency, 2).astype(np.float32)
    table = rng.uniform(-1.0, 1.0, (_TABLE, _TABLE)).astype(np.float32)
    offset = rng.uniform(0.0, _TABLE, 2).astype(np.float32)
    i, s = _cell(x * fx + offset[0])
    j, t = _cell(y * fy + offset[1])
    if x.shape[0] == 1 and y.shape[1] == 1:  # separable: two small gathers along one axis, two along the other
        rows = table.take(j[:, 0], axis=0)
        rows += (table.take((j[:, 0] + 1) & _MASK, axis=0) - rows) * t
        field = rows.take(i[0], axis=1)  # several times faster than rows[:, i[0]]
        step = rows.take((i[0] + 1) & _MASK, axis=1)
        step -= field
        step *= s
        field += step
        return field
    padded = np.pad(table, ((0, 1), (0, 1)), mode="wrap").ravel()
    here = j * np.int32(_TABLE + 1) + i
    a, b = padded.take(here), padded.take(here + np.int32(1))
    a += (b - a) * s
    here += np.int32(_TABLE + 1)
    c, d = padded.take(here), padded.take(here + np.int32(1))
    c += (d - c) * s
    a += (c - a) * t
    return a


def fractal(
    x: Array,
    y: Array,
    rng: np.random.Generator,
    frequency: float | tuple[float, float],
    octaves: int = 4,
    gain: float = 0.5,
) -> Array:
    """Octaves of `value`, each twice as fine and `gain` times as strong; standard deviation about 0.5.

    Octaves too fine for the sampling are left out, so a small image does not alias.
    """
    fx, fy = np.broadcast_to(frequency, 2)
    finest = 0.5 / _spacing(x, y)
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.float32)
    power = 0.0
    for octave in range(octaves):
        layer = np.random.default_rng(rng.integers(1 << 62))  # drawn also for skipped octaves
        if octave and min(fx, fy) * 2**octave > finest:
            continue
        weight = gain**octave
        field = value(x, y, layer, (fx * 2**octave, fy * 2**octave))
        field *= np.float32(weight)
        total += field
        power += weight**2
    total *= np.float32(1.2 / np.sqrt(power))
    return total


def ridged(x: Array, y: Array, rng: np.random.Generator, frequency: float, octaves: int = 3) -> Array:
    """Sharp ridges where `fractal` crosses zero: 0 in the valleys, 1 on the ridges."""
    return (1.0 - np.clip(np.abs(fractal(x, y, rng, frequency, octaves)) * 1.6, 0.0, 1.0)).astype(np.float32)


def warp(
    x: Array, y: Array, rng: np.random.Generator, frequency: float, amount: float, octaves: int = 2
) -> tuple[Array, Array]:
    """The coordinates pushed about smoothly by up to about `amount`: bends whatever is drawn in them."""
    return (
        x + np.float32(amount) * fractal(x, y, rng, frequency, octaves),
        y + np.float32(amount) * fractal(x, y, rng, frequency, octaves),
    )


def scatter(rng: np.random.Generator, spacing: float, extent: float = 1.1) -> Array:
    """Points about `spacing` apart over the square of half side `extent`: a jittered hexagonal grid, (count, 2)."""
    rows = int(np.ceil(2 * extent / (spacing * 0.866))) + 1
    columns = int(np.ceil(2 * extent / spacing)) + 2
    j, i = np.mgrid[0:rows, 0:columns]
    points = np.stack([(i + 0.5 * (j % 2)) * spacing, j * spacing * 0.866], -1).reshape(-1, 2) - extent
    return (points + rng.uniform(-0.32, 0.32, points.shape) * spacing).astype(np.float32)


def cells(x: Array, y: Array, points: Array) -> tuple[Array, Array, Array]:
    """Voronoi cells of (count, 2) points: distance to the nearest, to the second nearest, index of the nearest."""
    x, y = np.broadcast_arrays(x, y)
    distance, index = cKDTree(points).query(np.stack([x.ravel(), y.ravel()], -1), k=2, workers=1)
    shape = x.shape
    near, second = distance.astype(np.float32).T
    return near.reshape(shape), second.reshape(shape), index[:, 0].reshape(shape)


def _cell(position: Array) -> tuple[Array, Array]:
    position = position.astype(np.float32, copy=False)
    whole = np.floor(position)
    part = position - whole
    smooth = part * np.float32(-2.0)
    smooth += np.float32(3.0)
    smooth *= part
    smooth *= part
    return whole.astype(np.int32) & _MASK, smooth


def _spacing(x: Array, y: Array) -> float:
    along = [abs(float(a[0, 1] - a[0, 0])) if a.shape[1] > 1 else 0.0 for a in (x, y)]
    return max(float(np.hypot(along[0], along[1])), 1e-6)
