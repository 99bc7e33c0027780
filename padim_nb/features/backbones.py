"""Networks as feature extractors: each is cut after its last layer and gives the feature maps of all its layers."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from ..errors import OptionError, WeightsError, expect_one_of
from .efficientnet import LAYERS, LITE, EfficientNetLayers, network_of
from .gabor import GaborBank
from .onnx_runtime import session
from .weights import LITE_FILES, imagenet_file, lite_file, read_state

Color = tuple[float, float, float]
IMAGENET_MEAN: Color = (0.485, 0.456, 0.406)
IMAGENET_STD: Color = (0.229, 0.224, 0.225)
LITE_MEAN: Color = (127 / 255,) * 3  # (x - 127) / 128 for x in 0..255, as these were trained
LITE_STD: Color = (128 / 255,) * 3


class ResNetLayers(nn.Module):
    """torchvision's ResNet up to layer3, with its names.

    Args:
        name: such as "resnet18".
        channels: of layer1, layer2 and layer3.
    """

    def __init__(self, name: str, channels: tuple[int, ...]) -> None:
        super().__init__()
        from torchvision import models  # takes seconds to load

        whole = getattr(models, name)(weights=None)
        self.channels = channels
        self.conv1, self.bn1, self.relu, self.maxpool = whole.conv1, whole.bn1, whole.relu, whole.maxpool
        self.layer1, self.layer2, self.layer3 = whole.layer1, whole.layer2, whole.layer3

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalized images (n, 3, height, width) -> feature maps [(n, channels, h, w)], fine to coarse."""
        fine = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        middle = self.layer2(fine)
        return [fine, middle, self.layer3(middle)]


@dataclass(frozen=True)
class Spec:
    """One kind of backbone.

    Args:
        build: makes the network without weights; it has `channels`, and maps images to feature maps, fine to coarse.
        weights: the name its published weights are known by, "" for filters given by formula.
        mean: of the input in 0..1, subtracted.
        std: of the input in 0..1, divided by.
    """

    build: Callable[[], nn.Module]
    weights: str
    mean: Color = IMAGENET_MEAN
    std: Color = IMAGENET_STD


def _efficientnet(name: str) -> Spec:
    network = network_of(name)
    mean, std = (LITE_MEAN, LITE_STD) if network in LITE else (IMAGENET_MEAN, IMAGENET_STD)
    return Spec(partial(EfficientNetLayers, name), network, mean, std)


def _resnet(name: str, channels: tuple[int, int, int]) -> Spec:
    return Spec(partial(ResNetLayers, name, channels), name)


SPECS = {
    "gabor": Spec(GaborBank, "", (0.0,) * 3, (1.0,) * 3),
    **{name: _efficientnet(name) for name in LAYERS},
    "resnet18": _resnet("resnet18", (64, 128, 256)),
    "wide_resnet50_2": _resnet("wide_resnet50_2", (256, 512, 1024)),
    "wide_resnet101_2": _resnet("wide_resnet101_2", (256, 512, 1024)),
}


class Backbone(nn.Module):
    """A frozen network as a feature extractor.

    EfficientNet-Lite computes with a copy whose batch norm is folded into the convolutions, a quarter faster and the
    same to about 1e-6; later changes of its `network` have no effect. `infer` hands that copy to ONNX Runtime.

    Args:
        name: one of `SPECS`.
        network: with weights, as `Spec.build` makes it.
        weights: name and SHA-256 of the weights.

    Attributes:
        channels: of each layer, fine to coarse.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, network: nn.Module, weights: dict[str, str]) -> None:
        super().__init__()
        self.name, self.weights = name, weights
        self.network = network.eval().requires_grad_(False)
        self._folded = folded(network) if network_of(name) in LITE else None
        self.channels: tuple[int, ...] = tuple(network.channels)  # type: ignore[arg-type]  # nn.Module's stub
        self.register_buffer("mean", torch.tensor(SPECS[name].mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(SPECS[name].std)[:, None, None], persistent=False)

    def normalize(self, images: Tensor, std: Tensor | None = None) -> Tensor:
        """The network's input.

        Args:
            images: uint8 (n, height, width, 3).
            std: (3, 1, 1), in place of the backbone's own.

        Returns:
            float32 (n, 3, height, width).
        """
        return (images.permute(0, 3, 1, 2).float() / 255.0 - self.mean) / (self.std if std is None else std)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalized images (n, 3, height, width) -> feature maps [(n, channels, h, w)], fine to coarse."""
        return (self._folded or self.network)(x)

    def infer(self, x: Tensor) -> list[Tensor]:
        """What `forward` gives, without gradients and in the fastest way (`onnx_runtime.session`)."""
        fast = session(self._folded, x) if self._folded is not None else None
        if fast is None:
            return self(x.contiguous(memory_format=torch.channels_last))
        return [torch.from_numpy(layer) for layer in fast.run(None, {"x": x.contiguous().numpy()})]


def folded(network: nn.Module) -> nn.Module:
    """A copy for inference, with each batch norm that directly follows a convolution folded into it."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for (first, convolution), (second, norm) in pairwise(list(module.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, first, fuse_conv_bn_eval(convolution, norm))
                setattr(module, second, nn.Identity())
    return network


def normalized(x: Tensor) -> Tensor:
    """RGB in 0..1 (n, 3, height, width) by ImageNet's mean and standard deviation."""
    mean, std = _imagenet(x.device)
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


@cache
@torch.inference_mode(False)  # so that gradients may pass through whatever they are used in
def _imagenet(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, (3, 1, 1) each, copied to a device once."""
    mean, std = (torch.tensor(values, device=device) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return mean[:, None, None], std[:, None, None]


def backbone(name: str, weights: str = "", seed: int = 0) -> Backbone:
    """A backbone by name.

    Args:
        name: one of `SPECS`.
        weights: "imagenet" (also ""), "random" or a file (.safetensors, .pth); nothing for Gabor filters.
        seed: of random weights.
    """
    expect_one_of("backbone", name, SPECS)
    spec = SPECS[name]
    if not spec.weights and weights not in ("", "formula"):
        raise OptionError(f"backbone '{name}' is given by formula: it takes no weights, not {weights!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = spec.build()
    if not spec.weights:
        return Backbone(name, network, {"name": "formula", "sha256": _hash_of(network)})
    if weights == "random":
        return Backbone(name, network, {"name": f"random-{seed}", "sha256": _hash_of(network)})
    if weights in ("", "imagenet"):
        path = lite_file(spec.weights) if spec.weights in LITE_FILES else imagenet_file(spec.weights)
    else:
        path = Path(weights)
    state, digest = read_state(path)
    _load(network, state, path)
    return Backbone(name, network, {"name": path.name, "sha256": digest})


def _load(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    wanted = network.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    wrong = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or wrong:
        names = ", ".join((missing + wrong)[:3])
        raise WeightsError(f"{path} does not fit this network ({len(missing + wrong)} tensors, such as {names})")
    network.load_state_dict({key: state[key].float() for key in wanted if key in state}, strict=False)


def _hash_of(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(key.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
