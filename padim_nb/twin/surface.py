"""What a camera looks at: a height field with a colour and a gloss at every sample, and how it is lit."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .canvas import OVERSAMPLE, Array, Canvas

Colour = tuple[float, float, float]


def linear(colour: Colour) -> Array:
    """An 8-bit sRGB colour as linear light, (3,), 0 to 1."""
    c = np.asarray(colour, dtype=np.float32) / 255.0
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)


def mix(a: Colour, b: Colour, share: Array) -> Array:
    """From colour `a` to colour `b` by a field of shares (n, n): linear light (n, n, 3)."""
    share = np.clip(share, 0.0, 1.0)[..., None].astype(np.float32)
    mixed = planes(*share.shape[:2])
    np.multiply(linear(b) - linear(a), share, out=mixed)
    mixed += linear(a)
    return mixed


def planes(rows: int, columns: int) -> Array:
    """An empty (rows, columns, 3) field whose channels lie in memory one after the other.

    What broadcasts (n, n, 1) to its channels then runs along rows, ten times faster than in steps of three.
    """
    return np.empty((3, rows, columns), dtype=np.float32).transpose(1, 2, 0)


class Surface:
    """albedo (n, n, 3) in linear light, height (n, n) in canvas units, gloss (n, n) from 0 to 1; painted in place."""

    def __init__(self, canvas: Canvas, colour: Colour = (128, 128, 128), gloss: float = 0.0) -> None:
        n = canvas.samples
        self.canvas = canvas
        self.albedo: Array = planes(n, n)
        self.albedo[:] = linear(colour)
        self.height: Array = canvas.flat()
        self.gloss: Array = canvas.flat(gloss)
        self.glow: Array = planes(n, n)  # light added after shading: glints, back light
        self.glow[:] = 0.0

    def inset(self, window: tuple[slice, slice]) -> Surface:
        """A window of samples as a surface that shares memory with this one: what is painted there is painted here."""
        part = copy(self)
        part.albedo, part.height = self.albedo[window], self.height[window]
        part.gloss, part.glow = self.gloss[window], self.glow[window]
        return part

    def lay(
        self,
        cover: Array,
        colour: Colour | Array | None = None,
        height: Array | float | None = None,
        gloss: Array | float | None = None,
    ) -> None:
        """Cover the surface with another material where `cover` (n, n) is 1, partly where it is between 0 and 1."""
        cover = np.broadcast_to(cover, self.height.shape)
        if colour is not None:
            colour = linear(colour) if isinstance(colour, tuple) else colour
            self.albedo += (colour - self.albedo) * cover[..., None]
        if height is not None:
            self.height += (height - self.height) * cover
        if gloss is not None:
            self.gloss += (np.float32(1) * gloss - self.gloss) * cover

    def raise_by(self, amount: Array | float) -> None:
        """Add to the height (negative digs)."""
        self.height += np.float32(1) * amount

    def tint(self, factor: Array | float, cover: Array | float = 1.0) -> None:
        """Multiply the colour by a factor (number, (n, n) or (n, n, 3)) where `cover` is 1."""
        factor = np.asarray(factor, dtype=np.float32)
        if factor.ndim == 2:
            factor = factor[..., None]
        cover = np.asarray(cover, dtype=np.float32)
        cover = cover[..., None] if cover.ndim == 2 else cover
        self.albedo *= 1.0 + (factor - 1.0) * cover

    def shine(self, light: Array | float, cover: Array | float = 1.0) -> None:
        """Add light that does not depend on the lamp, such as a mirrored window; `light` is (n, n), (n, n, 3) or 1."""
        light = np.asarray(light, dtype=np.float32)
        cover = np.asarray(cover, dtype=np.float32)
        self.glow += (light[..., None] if light.ndim == 2 else light) * (cover[..., None] if cover.ndim == 2 else cover)

    def shadow(self, cover: Array, strength: float, blur: float) -> None:
        """Darken where `cover` is, softened by `blur` (canvas units): the shadow of something that hangs above."""
        soft = ndimage.gaussian_filter(np.ascontiguousarray(cover), blur / float(self.canvas.step), truncate=2.5)
        self.tint(1.0 - np.float32(strength) * soft)


@dataclass(frozen=True)
class Light:
    """One lamp and the rest of the room. `towards` points from the surface to the lamp (x right, y down, z up)."""

    towards: tuple[float, float, float] = (-0.45, -0.55, 1.0)
    ambient: float = 0.35
    shininess: float = 24.0
    occlusion: float = 0.0  # how much hollows darken
    hollow: float = 0.03  # size of the hollows that darken
    vignette: float = 0.06
    exposure: float = 1.0


def shade(surface: Surface, light: Light) -> Array:
    """Light that leaves the surface towards a camera straight above: (n, n, 3), linear."""
    step = surface.canvas.step
    slope_y, slope_x = np.gradient(surface.height, step)
    lamp = np.asarray(light.towards, dtype=np.float32)
    lamp /= np.linalg.norm(lamp)
    length = np.sqrt(slope_x**2 + slope_y**2 + 1.0)
    facing = (lamp[2] - slope_x * lamp[0] - slope_y * lamp[1]) / length
    diffuse = np.float32(light.ambient) + np.float32(1 - light.ambient) * np.maximum(facing, 0.0) / lamp[2]
    if light.occlusion:
        around = ndimage.gaussian_filter(surface.height, light.hollow / float(step), truncate=2.5)
        hollow = np.clip((around - surface.height) / np.float32(light.hollow), 0.0, 1.0)
        diffuse = diffuse * (1.0 - np.float32(light.occlusion) * hollow)
    out = surface.albedo * diffuse[..., None]
    if surface.gloss.any():
        half = lamp + np.array([0, 0, 1], dtype=np.float32)
        half /= np.linalg.norm(half)
        mirror = np.maximum((half[2] - slope_x * half[0] - slope_y * half[1]) / length, 0.0)
        out += (surface.gloss * mirror ** np.float32(light.shininess))[..., None]
    out += surface.glow
    if light.vignette:
        out *= (1.0 - np.float32(light.vignette) * (surface.canvas.x**2 + surface.canvas.y**2) / 2)[..., None]
    return out * np.float32(light.exposure)


def expose(radiance: Array, blur: float) -> Array:
    """What reaches the sensor: averaged, blurred by the lens (`blur` pixels), as 0..255 grey levels (h, w, 3)."""
    rows = radiance[:, ::OVERSAMPLE] + radiance[:, 1::OVERSAMPLE]
    pixels = (rows[::OVERSAMPLE] + rows[1::OVERSAMPLE]) / np.float32(OVERSAMPLE**2)
    pixels = ndimage.gaussian_filter(pixels, (blur, blur, 0), truncate=3.0)
    pixels = np.clip(pixels, 0.0, 1.0)
    return np.where(pixels <= 0.0031308, pixels * 12.92, 1.055 * pixels ** (1 / 2.4) - 0.055) * np.float32(255.0)
