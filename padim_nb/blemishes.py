"""Blemishes on the bank's views, for learning alone: a patch that does not belong, and where it is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

CLEAN = 0.2  # of the pictures stay as they are


def blemished(x: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """(views with a blemish each (b, 3, s, s), masks (b, 1, s, s)); `g` lives on the views' device.

    Inside the mask stands something else: another picture, the same picture moved or turned, another tint or light,
    less or more fine detail. Its share varies, down to what is hardly seen.
    """
    b = len(x)
    mask = _masks(b, x.shape[-1], g)
    kinds = torch.randint(len(_KINDS), (b,), generator=g, device=x.device)
    other = torch.empty_like(x)
    for number, kind in enumerate(_KINDS):
        mine = torch.nonzero(kinds == number)[:, 0]
        if len(mine):
            other[mine] = kind(x, mine, g)
    share = 0.35 + 0.65 * torch.rand(b, 1, 1, 1, generator=g, device=x.device)
    mask = mask * (torch.rand(b, 1, 1, 1, generator=g, device=x.device) >= CLEAN)
    weight = mask * share
    return (x * (1 - weight) + other * weight).contiguous(memory_format=torch.channels_last), mask


def _masks(b: int, side: int, g: torch.Generator) -> Tensor:
    """Blobs, boxes and lines of 1 to 15 % of the picture, (b, 1, side, side), of zeros and ones."""
    device = g.device
    line = torch.linspace(-1, 1, side, device=device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    centre = torch.rand(b, 2, 1, 1, generator=g, device=device) * 1.6 - 0.8
    angle = torch.rand(b, 1, 1, generator=g, device=device) * 2 * torch.pi
    along = (x - centre[:, 0]) * angle.cos() + (y - centre[:, 1]) * angle.sin()
    across = (y - centre[:, 1]) * angle.cos() - (x - centre[:, 0]) * angle.sin()
    size = 0.12 + 0.4 * torch.rand(b, 1, 1, generator=g, device=device)
    rough = torch.randn(b, 1, 9, 9, generator=g, device=device)
    rough = interpolate(rough, size=(side, side), mode="bicubic", align_corners=False)[:, 0]
    narrow = size * (0.15 + 0.85 * torch.rand(b, 1, 1, generator=g, device=device))
    blob = torch.hypot(along, across) + 0.25 * size * rough < size
    box = (along.abs() < size) & (across.abs() < narrow)
    thin = (across + 0.05 * rough).abs() < 0.03 + 0.05 * (narrow / size)
    stroke = thin & (along.abs() < 1.5 * size)
    kind = torch.rand(b, 1, 1, generator=g, device=device)
    found = torch.where(kind < 0.55, blob, torch.where(kind < 0.75, box, stroke))
    return found[:, None].to(torch.float32)


def _foreign(x: Tensor, mine: Tensor, g: torch.Generator) -> Tensor:
    return x[torch.randint(len(x), (len(mine),), generator=g, device=x.device)]


def _moved(x: Tensor, mine: Tensor, g: torch.Generator) -> Tensor:
    down, right = torch.randint(x.shape[-1] // 4, 3 * x.shape[-1] // 4, (2,), generator=g, device=x.device).tolist()
    return torch.roll(x[mine], (down, right), (2, 3))


def _turned(x: Tensor, mine: Tensor, g: torch.Generator) -> Tensor:
    return torch.rot90(x[mine], int(torch.randint(1, 4, (1,), generator=g, device=x.device)), (2, 3))


def _tinted(x: Tensor, mine: Tensor, g: torch.Generator) -> Tensor:
    gain, shift = torch.randn(2, len(mine), 3, 1, 1, generator=g, device=x.device)
    return x[mine] * (1 + 0.3 * gain) + 0.6 * shift


def _lit(x: Tensor, mine: Tensor, g: torch.Generator) -> Tensor:
    shift = torch.randn(len(mine), 1, 1, 1, generator=g, device=x.device)
    return x[mine] + 0.3 * torch.sign(shift) + 0.6 * shift


def _plain(x: Tensor, mine: Tensor, g: torch.Generator) -> Tensor:
    return x[mine].mean((2, 3), keepdim=True) + 0.5 * torch.randn(len(mine), 3, 1, 1, generator=g, device=x.device)


def _blurred(x: Tensor, mine: Tensor, _: torch.Generator) -> Tensor:
    return avg_pool2d(x[mine], 5, 1, 2, count_include_pad=False)


def _rough(x: Tensor, mine: Tensor, g: torch.Generator) -> Tensor:
    return x[mine] + 0.5 * torch.randn(x[mine].shape, generator=g, device=x.device)


_KINDS = (_foreign, _foreign, _moved, _turned, _tinted, _lit, _plain, _blurred, _rough)
