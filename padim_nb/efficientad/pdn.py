"""EfficientAD's networks: patch description networks (teacher, student) and the autoencoder, by the paper's tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import avg_pool2d, interpolate, relu

from ..errors import OptionError, did_you_mean
from ..features.backbones import normalized
from .winograd import convolved

CHANNELS = 384
MARGIN = 4  # patches that a map without padding lacks on each side
LEAST = 256  # pixels a side: the autoencoder's last convolution needs them
# (channels, kernel, padding where there is padding, pooled afterwards); None stands for the number of outputs.
_LAYERS: dict[str, tuple[tuple[int | None, int, int, bool], ...]] = {
    "small": ((128, 4, 3, True), (256, 4, 3, True), (256, 3, 1, False), (None, 4, 0, False)),
    "medium": (
        (256, 4, 3, True),
        (512, 4, 3, True),
        (512, 1, 0, False),
        (512, 3, 1, False),
        (None, 4, 0, False),
        (None, 1, 0, False),
    ),
}


class Convolution(nn.Conv2d):
    """torch's convolution with a stride of 1, computed by Winograd's minimal filtering where that is faster."""

    bias: nn.Parameter  # type: ignore[assignment]  # torch's may be None, ours never is

    def forward(self, x: Tensor) -> Tensor:
        return convolved(x, self.weight, self.bias, int(self.padding[0]))


class PatchDescription(nn.Module):
    """A patch description network: normalized images (n, 3, height, width) -> one vector for each 33 x 33 patch.

    The output is (n, channels, h, w) at a quarter of the size: without padding h = height / 4 - 8, with padding
    h = height / 4.

    Args:
        size: "small" (PDN-S) or "medium" (PDN-M).
        channels: of the output.
        padding: of the convolutions and poolings.
        width: share of the paper's channels in the layers before the output.
    """

    def __init__(self, size: str, channels: int, padding: bool = False, width: float = 1.0) -> None:
        super().__init__()
        if size not in _LAYERS:
            raise OptionError(f"no size {size!r}{did_you_mean(size, _LAYERS)}")
        self.size, self.padding = size, padding
        inputs = 3
        for number, (filters, kernel, pad, _) in enumerate(_LAYERS[size], 1):
            outputs = max(1, round(width * filters)) if filters else channels
            setattr(self, f"conv{number}", Convolution(inputs, outputs, kernel, padding=pad if padding else 0))
            inputs = outputs
        self.convolutions = [f"conv{number}" for number in range(1, len(_LAYERS[size]) + 1)]

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.trunk(x))

    @property
    def last(self) -> Convolution:
        """The last convolution, whose outputs are the patches' vectors."""
        return getattr(self, self.convolutions[-1])

    def trunk(self, x: Tensor) -> Tensor:
        """The input of the last convolution."""
        for name, (_, _, _, pooled) in zip(self.convolutions[:-1], _LAYERS[self.size], strict=False):
            x = relu(getattr(self, name)(x), inplace=True)
            if pooled:
                x = _pooled(x, 1 if self.padding else 0)
        return x


class Autoencoder(nn.Module):
    """Normalized images (n, 3, height, width) through 64 numbers to (n, 384, h, w) on the teacher's grid.

    Dropout draws from the generator that is passed; without one nothing is dropped.

    Args:
        padding: of the teacher it imitates.
    """

    DROPOUT = 0.2

    def __init__(self, padding: bool = False) -> None:
        super().__init__()
        self.padding = padding
        widths = (3, 32, 32, 64, 64, 64)
        encoder: list[nn.Module] = [nn.Conv2d(widths[i], widths[i + 1], 4, 2, 1) for i in range(5)]
        encoder.append(nn.Conv2d(64, 64, 8))
        decoder: list[nn.Module] = [Convolution(64, 64, 4, padding=2) for _ in range(6)]
        decoder += [Convolution(64, 64, 3, padding=1), Convolution(64, CHANNELS, 3, padding=1)]
        self.encoder = nn.ModuleDict({f"enconv{i}": layer for i, layer in enumerate(encoder, 1)})
        self.decoder = nn.ModuleDict({f"deconv{i}": layer for i, layer in enumerate(decoder, 1)})

    def forward(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        sizes = self.sizes(x.shape[-2], x.shape[-1])
        *convolutions, bottleneck = self.encoder.values()
        for layer in convolutions:
            x = relu(layer(x), inplace=True)
        x = bottleneck(x)
        *convolutions, middle, last = self.decoder.values()
        for layer, size in zip(convolutions, sizes[:-1], strict=True):
            x = interpolate(x, size=size, mode="bilinear", align_corners=False)
            x = relu(layer(x), inplace=True)
            if rng is not None:
                mask = torch.rand(x.shape, generator=rng, device=x.device) >= self.DROPOUT
                x = x * (mask / (1 - self.DROPOUT))
        x = interpolate(x, size=sizes[-1], mode="bilinear", align_corners=False)
        return last(relu(middle(x)))

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """What each stage of the decoder resizes to: 3, 8, 15, 32, 63, 127 and 56 or 64 for 256 pixels."""
        steps = [(64, 1), (32, 0), (16, 1), (8, 0), (4, 1), (2, 1)]
        pairs = [(height // divisor - less, width // divisor - less) for divisor, less in steps]
        return [*pairs, grid(height, width, self.padding)]


class Pair(nn.Module):
    """The two networks that learn, student and autoencoder."""

    def __init__(self, student: PatchDescription, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.student, self.autoencoder = student, autoencoder

    def heads(self, x: Tensor, towards_teacher: int) -> tuple[Tensor, Tensor]:
        """The student's two heads on a batch (n, 3, height, width), each computed only where the loss needs it.

        Args:
            x: normalized images.
            towards_teacher: how many images, from the first on, are compared with the teacher.

        Returns:
            Channels 0..383 of those images, and channels 384..767 of the others.
        """
        last, trunk = self.student.last, self.student.trunk(x)
        first = convolved(trunk[:towards_teacher], last.weight[:CHANNELS], last.bias[:CHANNELS])
        return first, convolved(trunk[towards_teacher:], last.weight[CHANNELS:], last.bias[CHANNELS:])


def teacher(size: str, padding: bool = False) -> PatchDescription:
    """A teacher, (n, 3, height, width) -> (n, 384, h, w): it imitates a large network's features of each patch."""
    return PatchDescription(size, CHANNELS, padding)


def student(size: str, padding: bool = False, width: float = 1.0) -> PatchDescription:
    """A student, (n, 3, height, width) -> (n, 768, h, w): it imitates teacher (0..383) and autoencoder (384..767)."""
    return PatchDescription(size, 2 * CHANNELS, padding, width)


def autoencoder(padding: bool = False) -> Autoencoder:
    """An autoencoder, (n, 3, height, width) -> (n, 384, h, w), whose 64 numbers in the middle cover the whole image."""
    return Autoencoder(padding)


def inputs(images: Tensor) -> Tensor:
    """The networks' input: images, uint8 (n, height, width, 3) -> normalized (n, 3, height, width)."""
    return normalized(images.permute(0, 3, 1, 2).float() / 255)


def grid(height: int, width: int, padding: bool = False) -> tuple[int, int]:
    """(h, w) of the networks' outputs for an image of this size."""
    if min(height, width) < LEAST:
        raise OptionError(f"EfficientAD needs images of at least {LEAST} px a side, not {height}x{width}")
    less = 0 if padding else 2 * MARGIN
    return math.ceil(height / 4) - less, math.ceil(width / 4) - less


def _pooled(x: Tensor, padding: int) -> Tensor:
    """Means of 2 x 2 places, zeros around them counted."""
    return _Pooled.apply(x, padding) if x.is_cuda and x.requires_grad else avg_pool2d(x, 2, 2, padding)


class _Pooled(torch.autograd.Function):
    """The pooling on a GPU: torch's slope of it takes a sixth of a training step on an H200, a copy does the same."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: int) -> Tensor:
        ctx.shape, ctx.padding = x.shape, padding
        return avg_pool2d(x, 2, 2, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        n, channels, h, w = slope.shape
        height, width = ctx.shape[2:]
        more = [max(0, length + ctx.padding - 2 * side) for length, side in ((height, h), (width, w))]
        size = (n, channels, 2 * h + more[0], 2 * w + more[1])
        whole = torch.empty(size, dtype=slope.dtype, device=slope.device, memory_format=torch.channels_last)
        for start, dim in ((2 * h, 2), (2 * w, 3)):
            whole.narrow(dim, start, size[dim] - start).zero_()
        places = whole[:, :, : 2 * h, : 2 * w].unflatten(3, (w, 2)).unflatten(2, (h, 2))
        places.copy_((slope / 4)[:, :, :, None, :, None].expand_as(places))
        return whole[:, :, ctx.padding : ctx.padding + height, ctx.padding : ctx.padding + width], None


def renamed(state: dict[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """A state whose layers are numbered (as in a plain Sequential) under this project's names, in order."""
    numbers = sorted({int(key.split(".")[0]) for key in state if key.split(".")[0].isdigit()})
    if len(numbers) != len(names):
        return state
    pairs = zip(numbers, names, strict=True)
    return {f"{name}.{part}": state[f"{n}.{part}"] for n, name in pairs for part in ("weight", "bias")}
