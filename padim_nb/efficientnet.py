"""EfficientNets of `efficientnet_pytorch`, tapped as in the published tables and cut right after the last tap.

Padding is TensorFlow's SAME rule at the size the feature maps really have. A model built for its native size (600 for
b7) pads one stride-2 convolution differently at 224 and shifts everything behind it; with no size given the package
pads by the real one, which is also what version 0.6.3, used for the published b7 rows, amounted to at 224.
"""

from __future__ import annotations

from efficientnet_pytorch import EfficientNet
from torch import Tensor, nn

Tap = tuple[int, str]  # number of the block from 0, and what of it: "output", "expand" or "depthwise"


def _outputs(*blocks: int) -> tuple[Tap, ...]:
    return tuple((block, "output") for block in blocks)


# Blocks are counted from 0 here and from 1 in the sources. fst, md and lst: first, middle and last block of stages.
TAPS: dict[str, tuple[Tap, ...]] = {
    "efficientnet-b0-lst": _outputs(2, 4, 10),
    "efficientnet-b1-lst": _outputs(4, 7, 15),
    "efficientnet-b4-fst": _outputs(2, 6, 16),
    "efficientnet-b4-md": _outputs(4, 8, 19),
    "efficientnet-b4-lst": _outputs(5, 9, 21),
    "efficientnet-b5-paper": _outputs(6, 19, 25),
    "efficientnet-b7-fst": _outputs(4, 11, 28),
    "efficientnet-b7-md": _outputs(7, 14, 32),
    "efficientnet-b7-lst": _outputs(10, 17, 37),
    "efficientnet-b7-net1": ((28, "expand"), (38, "expand"), (51, "expand")),
    "efficientnet-b7-net2": ((18, "expand"), (38, "expand"), (51, "expand")),
    "efficientnet-b7-net3": ((28, "depthwise"), (38, "depthwise"), (51, "depthwise")),
}


class TappedEfficientNet(nn.Module):
    """Normalised pictures (b, 3, h, w) -> the taps' maps; keeps the state-dict names of `efficientnet_pytorch`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        whole = EfficientNet.from_name(name.rpartition("-")[0], image_size=None)
        self.taps = TAPS[name]
        self._conv_stem, self._bn0 = whole._conv_stem, whole._bn0
        self._blocks = whole._blocks[: self.taps[-1][0] + 1]
        self._swish = whole._swish
        self.channels = tuple(_channels(self._blocks[block], what) for block, what in self.taps)

    def forward(self, x: Tensor) -> list[Tensor]:
        taps = dict(self.taps)
        found: list[Tensor] = []
        x = self._swish(self._bn0(self._conv_stem(x)))
        for number, block in enumerate(self._blocks):
            what = taps.get(number)
            if what in ("expand", "depthwise"):
                found.append(_inside(block, x, what))
                if number == self.taps[-1][0]:
                    break
            x = block(x)
            if what == "output":
                found.append(x)
        return found


def _inside(block: nn.Module, x: Tensor, what: str) -> Tensor:
    x = block._swish(block._bn0(block._expand_conv(x)))
    return x if what == "expand" else block._swish(block._bn1(block._depthwise_conv(x)))


def _channels(block: nn.Module, what: str) -> int:
    return block._bn2.num_features if what == "output" else block._bn1.num_features
