"""EfficientAD's networks: patch description networks (teacher, student) and the autoencoder, by the paper's tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from ..errors import OptionError, did_you_mean
from .winograd import convolved

CHANNELS = 384
MARGIN = 4  # patches that a map without padding lacks on each side
LEAST = 256  # pixels a side: the autoencoder's last convolution needs them
# (channels, kernel, padding where there is padding, pooled afterwards); None stands for the description's channels.
_LAYERS = {
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
    """torch's convolution with a stride of 1, by the way that is quickest here."""

    def forward(self, x: Tensor) -> Tensor:
        return convolved(x, self.weight, self.bias, self.padding[0])


class PatchDescription(nn.Module):
    """Pictures (b, 3, h, w) -> a description of each 33 x 33 patch, (b, channels, h', w') at a quarter of the size.

    Without padding a patch is described by itself alone and h' = h / 4 - 8; with padding h' = h / 4.
    """

    def __init__(self, size: str, channels: int, padding: bool = False) -> None:
        super().__init__()
        if size not in _LAYERS:
            raise OptionError(f"no size {size!r}{did_you_mean(size, _LAYERS)}")
        self.size, self.padding = size, padding
        inputs = 3
        for number, (width, kernel, pad, _) in enumerate(_LAYERS[size], 1):
            layer = Convolution(inputs, width or channels, kernel, padding=pad if padding else 0)
            setattr(self, f"conv{number}", layer)
            inputs = width or channels
        self.convolutions = [f"conv{number}" for number in range(1, len(_LAYERS[size]) + 1)]

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.convolutions[-1])(self.trunk(x))

    def trunk(self, x: Tensor) -> Tensor:
        """All but the last convolution: what it reads."""
        for name, (_, _, _, pooled) in zip(self.convolutions[:-1], _LAYERS[self.size], strict=False):
            x = relu(getattr(self, name)(x), inplace=True)
            if pooled:
                x = avg_pool2d(x, 2, 2, 1 if self.padding else 0)
        return x


class Autoencoder(nn.Module):
    """Pictures (b, 3, h, w) through 64 numbers and back to a description (b, 384, h', w') of a teacher's grid.

    Dropout draws from the generator that is passed; without one nothing is dropped.
    """

    DROPOUT = 0.2

    def __init__(self, padding: bool = False) -> None:
        super().__init__()
        self.padding = padding
        widths = (3, 32, 32, 64, 64, 64)
        self.encoder, self.decoder = nn.Module(), nn.Module()
        for number in range(1, 6):
            setattr(self.encoder, f"enconv{number}", nn.Conv2d(widths[number - 1], widths[number], 4, 2, 1))
        self.encoder.enconv6 = nn.Conv2d(64, 64, 8)
        for number in range(1, 7):
            setattr(self.decoder, f"deconv{number}", Convolution(64, 64, 4, padding=2))
        self.decoder.deconv7 = Convolution(64, 64, 3, padding=1)
        self.decoder.deconv8 = Convolution(64, CHANNELS, 3, padding=1)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        sizes = self.sizes(x.shape[-2], x.shape[-1])
        for number in range(1, 6):
            x = relu(getattr(self.encoder, f"enconv{number}")(x), inplace=True)
        x = self.encoder.enconv6(x)
        for number, size in enumerate(sizes[:-1], 1):
            x = interpolate(x, size=size, mode="bilinear", align_corners=False)
            x = relu(getattr(self.decoder, f"deconv{number}")(x), inplace=True)
            if generator is not None:
                kept = torch.rand(x.shape, generator=generator, device=x.device) >= self.DROPOUT
                x = x * (kept / (1 - self.DROPOUT))
        x = interpolate(x, size=sizes[-1], mode="bilinear", align_corners=False)
        return self.decoder.deconv8(relu(self.decoder.deconv7(x)))

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
        """The student on a batch: the first pictures towards the teacher, the others towards the autoencoder.

        One pass of the trunk for all, and of the last convolution only the half that is looked at.
        """
        last = getattr(self.student, self.student.convolutions[-1])
        trunk = self.student.trunk(x)
        first = convolved(trunk[:towards_teacher], last.weight[:CHANNELS], last.bias[:CHANNELS])
        return first, convolved(trunk[towards_teacher:], last.weight[CHANNELS:], last.bias[CHANNELS:])


def teacher(size: str, padding: bool = False) -> PatchDescription:
    """The network that describes a patch as a large network would."""
    return PatchDescription(size, CHANNELS, padding)


def student(size: str, padding: bool = False) -> PatchDescription:
    """The network that learns to agree with the teacher (channels 0..383) and the autoencoder (384..767)."""
    return PatchDescription(size, 2 * CHANNELS, padding)


def autoencoder(padding: bool = False) -> Autoencoder:
    """The network that sees the whole picture."""
    return Autoencoder(padding)


def grid(height: int, width: int, padding: bool = False) -> tuple[int, int]:
    """(h', w'): the grid of descriptions of a picture."""
    if min(height, width) < LEAST:
        raise OptionError(f"EfficientAD needs pictures of at least {LEAST} px a side, not {height}x{width}")
    less = 0 if padding else 2 * MARGIN
    return math.ceil(height / 4) - less, math.ceil(width / 4) - less


def renamed(state: dict[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """A state whose layers are numbered (as in a plain Sequential) under this project's names, in order."""
    numbers = sorted({int(key.split(".")[0]) for key in state if key.split(".")[0].isdigit()})
    if len(numbers) != len(names):
        return state
    pairs = zip(numbers, names, strict=True)
    return {f"{name}.{part}": state[f"{n}.{part}"] for n, name in pairs for part in ("weight", "bias")}
