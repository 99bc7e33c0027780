"""Where a scene is drawn: unit coordinates, the pose of a part in them, and anti-aliased coverage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray
OVERSAMPLE = 2  # scene samples an image's pixel, each way


class Canvas:
    """A square from -1 to 1 (x to the right, y down) sampled finely enough for an image of `size` pixels.

    `x` is (1, n) and `y` is (n, 1): formulas broadcast, and what depends on one of them alone stays cheap.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.samples = size * OVERSAMPLE
        self.step = np.float32(2.0 / self.samples)
        line = ((np.arange(self.samples, dtype=np.float32) + 0.5) * self.step - 1.0).astype(np.float32)
        self.x: Array = line[None, :]
        self.y: Array = line[:, None]

    def cover(self, distance: Array, soft: float = 0.0) -> Array:
        """How much of each sample lies inside a signed distance (negative inside): 0 to 1; `soft` widens the edge."""
        return np.clip(0.5 - distance / (self.step + np.float32(soft)), 0.0, 1.0).astype(np.float32)

    def window(self, x: float, y: float, reach: float) -> tuple[slice, slice]:
        """The samples within `reach` of a point, as slices of rows and columns: small things are drawn in there."""
        low, high = (
            [int(np.clip((centre + side + 1.0) / self.step + (side > 0), 0, self.samples)) for centre in (y, x)]
            for side in (-reach, reach)
        )
        return slice(low[0], high[0]), slice(low[1], high[1])

    def flat(self, value: float = 0.0) -> Array:
        """A constant (n, n) field."""
        return np.full((self.samples, self.samples), value, dtype=np.float32)


@dataclass(frozen=True)
class Pose:
    """Where a part lies: shifted, turned and scaled about the middle of the image."""

    dx: float = 0.0
    dy: float = 0.0
    degrees: float = 0.0
    scale: float = 1.0

    def to_part(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Image coordinates -> the part's own coordinates (u, v)."""
        if self.degrees == 0.0:
            return self.to_grain(x, y)
        angle = np.deg2rad(self.degrees)
        c, s = np.float32(np.cos(angle) / self.scale), np.float32(np.sin(angle) / self.scale)
        x, y = x - np.float32(self.dx), y - np.float32(self.dy)
        return c * x + s * y, c * y - s * x

    def to_grain(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Like `to_part` without the turn: for textures of parts that are turned by a few degrees only.

        The coordinates stay (1, n) and (n, 1), for which noise is several times cheaper.
        """
        return (x - np.float32(self.dx)) / np.float32(self.scale), (y - np.float32(self.dy)) / np.float32(self.scale)

    def to_image(self, u: float, v: float) -> tuple[float, float]:
        """A point of the part -> where it lies in the image."""
        angle = np.deg2rad(self.degrees)
        c, s = np.cos(angle) * self.scale, np.sin(angle) * self.scale
        return float(c * u - s * v + self.dx), float(s * u + c * v + self.dy)


@dataclass(frozen=True)
class Jitter:
    """How much parts of one category vary in pose: a declared constant of the category, set once."""

    shift: float = 0.0
    degrees: float = 0.0
    scale: float = 0.0

    def draw(self, rng: np.random.Generator) -> Pose:
        """A pose, uniform within these bounds."""
        dx, dy, turn, grow = rng.uniform(-1.0, 1.0, 4)
        return Pose(
            float(dx * self.shift), float(dy * self.shift), float(turn * self.degrees), float(1 + grow * self.scale)
        )
