"""EfficientNets of `efficientnet_pytorch`, and EfficientNet-Lite of the same blocks, cut after their last layer.

Padding is TensorFlow's SAME rule at the size the feature maps really have. A model built for its native size (600 for
b7) pads one stride-2 convolution differently at 224 and shifts everything behind it; with no size given the package
pads by the real one, which is also what version 0.6.3, used for the published b7 rows, amounted to at 224.
"""

from __future__ import annotations

from math import ceil

from efficientnet_pytorch import EfficientNet
from efficientnet_pytorch.utils import efficientnet
from torch import Tensor, nn

Layer = tuple[int, str]  # number of the block from 0, and what of it: "output", "expand" or "depthwise"


def _outputs(*blocks: int) -> tuple[Layer, ...]:
    return tuple((block, "output") for block in blocks)


# Blocks are counted from 0 here and from 1 in the sources. fst, md and lst: first, middle and last block of stages.
# Of EfficientNet-Lite the last blocks at strides 4, 8 and 16; expanded: what follows those at strides 8 and 16.
LAYERS: dict[str, tuple[Layer, ...]] = {
    "efficientnet-lite0": _outputs(2, 4, 10),
    "efficientnet-lite1": _outputs(3, 6, 14),
    "efficientnet-lite2": _outputs(3, 6, 14),
    "efficientnet-lite0-expanded": ((5, "expand"), (11, "expand")),
    "efficientnet-lite2-expanded": ((7, "expand"), (15, "expand")),
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

# Width and depth beside B0's. Stem, head and the number of blocks in the first and last stage are never scaled.
LITE = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite1": (1.0, 1.1), "efficientnet-lite2": (1.1, 1.2)}


def network_of(name: str) -> str:
    """The EfficientNet whose layers these are: "efficientnet-b4" of "efficientnet-b4-fst"."""
    return name if name in LITE else name.rpartition("-")[0]


def lite(name: str) -> EfficientNet:
    """An EfficientNet-Lite: B0's stages without squeeze-and-excitation, with ReLU6; its head is not the published one.

    Args:
        name: one of `LITE`.
    """
    width, depth = LITE[name]
    stages, common = efficientnet(width, 1.0, image_size=None)
    for number, stage in enumerate(stages):
        repeat = stage.num_repeat if stage in (stages[0], stages[-1]) else ceil(depth * stage.num_repeat)
        stages[number] = stage._replace(se_ratio=None, num_repeat=repeat)
    network = EfficientNet(stages, common)
    for module in network.modules():
        if hasattr(module, "_swish"):
            module._swish = nn.ReLU6()
    return network


class EfficientNetLayers(nn.Module):
    """An EfficientNet up to its last layer; its state dict has the names of `efficientnet_pytorch`.

    Args:
        name: one of `LAYERS`.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        network = network_of(name)
        whole = lite(network) if network in LITE else EfficientNet.from_name(network, image_size=None)
        self.layers = LAYERS[name]
        self._conv_stem, self._bn0 = whole._conv_stem, whole._bn0
        self._blocks = whole._blocks[: self.layers[-1][0] + 1]
        self._swish = whole._swish
        norms = [f"_blocks.{block}._bn{2 if what == 'output' else 1}" for block, what in self.layers]
        self.channels = tuple(len(self.get_parameter(f"{norm}.weight")) for norm in norms)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalized images (n, 3, height, width) -> feature maps [(n, channels, h, w)], fine to coarse."""
        layers = dict(self.layers)
        feature_maps: list[Tensor] = []
        x = self._swish(self._bn0(self._conv_stem(x)))
        for number, block in enumerate(self._blocks):
            what = layers.get(number)
            if what in ("expand", "depthwise"):
                inner = block._swish(block._bn0(block._expand_conv(x)))
                if what == "depthwise":
                    inner = block._swish(block._bn1(block._depthwise_conv(inner)))
                feature_maps.append(inner)
                if number == self.layers[-1][0]:
                    break
            x = block(x)
            if what == "output":
                feature_maps.append(x)
        return feature_maps
