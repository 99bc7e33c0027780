"""Augmented views of the bank's pictures, whole batches at a time: crop, turn, colour, blur, noise, patches erased."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, pad

from .backbones import normalised


@dataclass
class Views:
    """Views (b, 3, size, size), ready for a network, and how each was made: angle, log of its scale, colour gains."""

    pictures: Tensor
    angle: Tensor
    zoom: Tensor
    gain: Tensor

    def __getitem__(self, chosen: slice | Tensor) -> Views:
        return Views(self.pictures[chosen], self.angle[chosen], self.zoom[chosen], self.gain[chosen])


def views(pictures: Tensor, size: int, g: torch.Generator, strength: float = 1.0) -> Views:
    """One random view of each picture, uint8 (b, side, side, 3); `g` lives on the pictures' device.

    `strength` scales what is done to colour, light and sharpness, and how often; crops and turns stay.
    """
    b, device = len(pictures), pictures.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(b, *shape, generator=g, device=device) * (high - low) + low

    def chance(p: float) -> Tensor:
        return (torch.rand(b, generator=g, device=device) < p).float()

    zoom = 0.5 * uniform(-2.526, -0.223)  # log of the crop's side: its area is 0.08 to 0.8 of the picture, log-uniform
    angle = torch.where(chance(0.5) > 0, uniform(-torch.pi, torch.pi), uniform(-0.26, 0.26))
    x = _cropped(pictures, size, zoom, angle, uniform(-0.144, 0.144), chance(0.5), uniform(-1, 1, 2))
    gain = uniform(-0.35, 0.35, 3) * 0.5 * strength
    mixing = torch.eye(3, device=device) + 0.25 * strength * chance(0.7)[:, None, None] * _normal(
        g, b, 3, 3, device=device
    )
    x = torch.einsum("bij,bjhw->bihw", mixing * gain.exp()[:, :, None], x)
    x = (x - 0.5) * (strength * uniform(-0.4, 0.4)).exp()[:, None, None, None] + 0.5
    x = x + strength * uniform(-0.2, 0.2)[:, None, None, None]
    grey = x.mean(1, keepdim=True)
    x = torch.where(chance(0.25)[:, None, None, None] > 0, grey, x)
    x = _blurred(x, chance(0.3 * strength), uniform(0.4, 1.6))
    grain = uniform(0, 0.06) * chance(0.5 * strength)
    x = x + grain[:, None, None, None] * _normal(g, *x.shape, device=device)
    x = _erased(x, chance(0.25 * strength), uniform(0.1, 0.35, 2), uniform(0, 1, 2))
    return Views(normalised(x.clamp(0, 1)), angle, zoom, gain)


def mixed(x: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """MixUp or CutMix of a batch with itself: (pictures, partner of each, the share of the picture itself)."""
    b, _, h, w = x.shape
    partner = torch.randperm(b, generator=g, device=x.device)
    share = torch.rand(b, generator=g, device=x.device)
    cut = torch.rand(b, generator=g, device=x.device) < 0.5
    side = torch.sqrt(1 - share)
    top = torch.rand(2, b, generator=g, device=x.device) * (1 - side)
    rows = (torch.arange(h, device=x.device) + 0.5)[None] / h
    columns = (torch.arange(w, device=x.device) + 0.5)[None] / w
    inside = ((rows >= top[0, :, None]) & (rows < (top[0] + side)[:, None]))[:, :, None] & (
        (columns >= top[1, :, None]) & (columns < (top[1] + side)[:, None])
    )[:, None]
    own = torch.where(cut[:, None, None], 1 - inside.float(), share[:, None, None])[:, None]
    out = (x * own + x[partner] * (1 - own)).contiguous(memory_format=torch.channels_last)
    return out, partner, own.mean((1, 2, 3))


def _cropped(
    pictures: Tensor, size: int, zoom: Tensor, angle: Tensor, aspect: Tensor, flip: Tensor, to: Tensor
) -> Tensor:
    side = zoom.exp()
    width, height = side * aspect.exp() * (1 - 2 * flip), side * (-aspect).exp()
    c, s = angle.cos(), angle.sin()
    centre = to * (1 - side)[:, None]
    theta = torch.stack([c * width, -s * height, centre[:, 0], s * width, c * height, centre[:, 1]], 1).view(-1, 2, 3)
    where = affine_grid(theta, [len(pictures), 3, size, size], align_corners=False)
    x = pictures.permute(0, 3, 1, 2).float() / 255
    return grid_sample(x, where, padding_mode="reflection", align_corners=False)


def _blurred(x: Tensor, chosen: Tensor, sigma: Tensor) -> Tensor:
    taps = torch.arange(-3, 4, device=x.device, dtype=x.dtype)
    sharp = (taps == 0).float()
    kernel = torch.exp(-(taps**2) / (2 * sigma[:, None] ** 2))
    kernel = kernel / kernel.sum(1, keepdim=True) * chosen[:, None] + sharp * (1 - chosen[:, None])
    b, c, h, w = x.shape
    kernel = kernel.repeat_interleave(c, 0)[:, None]
    flat = x.reshape(1, b * c, h, w)
    flat = conv2d(pad(flat, (3, 3, 0, 0), "reflect"), kernel[:, :, None, :], groups=b * c)
    flat = conv2d(pad(flat, (0, 0, 3, 3), "reflect"), kernel[..., None], groups=b * c)
    return flat.view(b, c, h, w)


def _erased(x: Tensor, chosen: Tensor, side: Tensor, top: Tensor) -> Tensor:
    h, w = x.shape[2:]
    top = top * (1 - side)
    rows = (torch.arange(h, device=x.device) + 0.5)[None] / h - top[:, :1]
    columns = (torch.arange(w, device=x.device) + 0.5)[None] / w - top[:, 1:]
    hole = ((rows >= 0) & (rows < side[:, :1]))[:, :, None] & ((columns >= 0) & (columns < side[:, 1:]))[:, None]
    hole = hole[:, None] & (chosen[:, None, None, None] > 0)
    return torch.where(hole, x.mean((2, 3), keepdim=True), x)


def _normal(g: torch.Generator, *shape: int, device: torch.device) -> Tensor:
    return torch.randn(*shape, generator=g, device=device)
