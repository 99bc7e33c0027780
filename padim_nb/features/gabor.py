"""Oriented filters and color opponents at three scales: a baseline that needs no weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, pad

ORIENTATIONS = 6
WAVELENGTHS = ((3.5, 6.0), (9.0, 14.0), (20.0, 30.0))  # pixels, for the layers at strides 4, 8 and 16
# Rows: luminance, red-green, yellow-blue; weights of R, G, B.
OPPONENTS = ((0.299, 0.587, 0.114), (0.5, -0.5, 0.0), (0.25, 0.25, -0.5))


class GaborBank(nn.Module):
    """Local colors and Gabor energies on three layers, at strides 4, 8 and 16; all channels are fixed by formula.

    Each layer has the local means of the three opponents, their local standard deviations, and the root of the
    energy of luminance under Gabor filters (2 wavelengths x 6 orientations): 18 channels, and 4 of second order at
    the coarser ones (how the finer energies vary from place to place).
    """

    opponents: Tensor
    channels = (18, 22, 22)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("opponents", torch.tensor(OPPONENTS)[..., None, None])
        for layer, waves in enumerate(WAVELENGTHS):
            self.register_buffer(f"filters{layer}", torch.cat([_gabor(wave / 2**layer) for wave in waves]))

    def forward(self, x: Tensor) -> list[Tensor]:
        """RGB in 0..1 (n, 3, height, width) -> feature maps [(n, channels, h, w)], fine to coarse."""
        color = conv2d(x, self.opponents)
        feature_maps: list[Tensor] = []
        energy: Tensor | None = None
        for layer in range(len(WAVELENGTHS)):
            if layer:
                color = avg_pool2d(color, 2)
            stride = 4  # 4, 8, 16 pixels of the image: each layer works on a half-sized one
            mean = avg_pool2d(color, stride)
            deviation = _root(avg_pool2d(color * color, stride) - mean * mean)
            second_order = [] if energy is None else [_variation(energy)]
            energy = self._energy(color[:, :1], self.get_buffer(f"filters{layer}"))
            feature_maps.append(torch.cat([mean, deviation, avg_pool2d(energy, stride), *second_order], dim=1))
        return feature_maps

    def _energy(self, luminance: Tensor, filters: Tensor) -> Tensor:
        margin = filters.shape[-1] // 2
        waves = conv2d(pad(luminance, (margin,) * 4, mode="replicate"), filters)
        even, odd = waves[:, 0::2], waves[:, 1::2]
        return _root(even * even + odd * odd)


def _variation(energy: Tensor) -> Tensor:
    """Local deviation of the energies, averaged over three orientations each: (n, 12, h, w) -> (n, 4, h/8, w/8)."""
    mean = avg_pool2d(energy, 8)
    deviation = _root(avg_pool2d(energy * energy, 8) - mean * mean)
    n, _, h, w = deviation.shape
    return deviation.view(n, 4, 3, h, w).mean(2)


def _root(power: Tensor) -> Tensor:
    return torch.sqrt(power.clamp(min=0.0) + 1e-6)


def _gabor(wavelength: float) -> Tensor:
    """Even and odd filters in turn for each orientation, (2 * orientations, 1, s, s): zero mean, unit norm."""
    sigma = 0.5 * wavelength
    half = round(2.5 * sigma)
    y, x = torch.meshgrid(*(torch.arange(-half, half + 1, dtype=torch.float64),) * 2, indexing="ij")
    envelope = torch.exp(-(x * x + y * y) / (2 * sigma * sigma))
    out = []
    for turn in range(ORIENTATIONS):
        angle = torch.tensor(torch.pi * turn / ORIENTATIONS, dtype=torch.float64)
        phase = 2 * torch.pi * (x * torch.cos(angle) + y * torch.sin(angle)) / wavelength
        for wave in (torch.cos(phase), torch.sin(phase)):
            wave = envelope * wave
            wave = wave - envelope * (wave.sum() / envelope.sum())
            out.append(wave / wave.norm())
    size = 2 * round(2.5 * 0.5 * max(WAVELENGTHS[0])) + 1
    grow = size // 2 - half
    return torch.stack([pad(w, (grow,) * 4) for w in out])[:, None].float()
