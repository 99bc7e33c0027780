"""Networks and the layers they are tapped at, cut right after the last tap."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import OptionError, WeightsError, did_you_mean
from .efficientnet import TappedEfficientNet
from .gabor import GaborBank
from .weights import LITE_FILES, imagenet_file, lite_file, read_state

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Spec:
    """One network as it is tapped: how it is built without weights, how its taps are read, fine to coarse, and under
    which name its published weights are known ("" for a network that is given by formula).
    """

    build: Callable[[], nn.Module]
    taps: Callable[[nn.Module, Tensor], list[Tensor]]
    channels: tuple[int, ...]
    weights: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def _resnet_taps(net: nn.Module, x: Tensor) -> list[Tensor]:
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    fine = net.layer1(x)
    middle = net.layer2(fine)
    return [fine, middle, net.layer3(middle)]


def _resnet(name: str, channels: tuple[int, ...], weights: str = "") -> Spec:
    def build() -> nn.Module:
        from torchvision import models  # takes seconds to load

        network = getattr(models, name)(weights=None)
        for unused in ("layer4", "avgpool", "fc"):
            delattr(network, unused)
        return network

    return Spec(build, _resnet_taps, channels, weights or name)


def _efficientnet(name: str, *channels: int) -> Spec:
    return Spec(lambda: TappedEfficientNet(name), lambda net, x: net(x), channels, name.rpartition("-")[0])


SPECS = {
    "gabor": Spec(GaborBank, lambda net, x: net(x), GaborBank.channels, "", (0.0,) * 3, (1.0,) * 3),
    "efficientnet-lite0": Spec(
        lambda: TappedEfficientNet("efficientnet-lite0"),
        lambda net, x: net(x),
        (24, 40, 112),
        "efficientnet-lite0",
        (127 / 255,) * 3,  # (x - 127) / 128 of 0..255, as it was trained
        (128 / 255,) * 3,
    ),
    "resnet18": _resnet("resnet18", (64, 128, 256)),
    "wide_resnet50_2": _resnet("wide_resnet50_2", (256, 512, 1024)),
    "wide_resnet101_2": _resnet("wide_resnet101_2", (256, 512, 1024)),
    "efficientnet-b0-lst": _efficientnet("efficientnet-b0-lst", 24, 40, 112),
    "efficientnet-b1-lst": _efficientnet("efficientnet-b1-lst", 24, 40, 112),
    **{f"efficientnet-b4-{at}": _efficientnet(f"efficientnet-b4-{at}", 32, 56, 160) for at in ("fst", "md", "lst")},
    "efficientnet-b5-paper": _efficientnet("efficientnet-b5-paper", 40, 128, 176),
    **{f"efficientnet-b7-{at}": _efficientnet(f"efficientnet-b7-{at}", 48, 80, 224) for at in ("fst", "md", "lst")},
    "efficientnet-b7-net1": _efficientnet("efficientnet-b7-net1", 960, 1344, 2304),
    "efficientnet-b7-net2": _efficientnet("efficientnet-b7-net2", 480, 1344, 2304),
    "efficientnet-b7-net3": _efficientnet("efficientnet-b7-net3", 960, 1344, 2304),
}


def normalised(x: Tensor) -> Tensor:
    """RGB in 0..1 (b, 3, h, w) as every learnt backbone wants it."""
    mean, std = torch.tensor(IMAGENET_MEAN, device=x.device), torch.tensor(IMAGENET_STD, device=x.device)
    return ((x - mean[:, None, None]) / std[:, None, None]).contiguous(memory_format=torch.channels_last)


def taps_of(name: str, network: nn.Module, x: Tensor) -> list[Tensor]:
    """The taps' maps [(b, c, h', w')], fine to coarse, of a network of this name."""
    return SPECS[name].taps(network, x)


class Backbone(nn.Module):
    """A frozen network as a feature extractor; `weights` says by name and hash what it computes with."""

    def __init__(self, name: str, network: nn.Module, weights: dict[str, str]) -> None:
        super().__init__()
        self.name, self.weights, self.channels = name, weights, SPECS[name].channels
        self.network = network.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(SPECS[name].mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(SPECS[name].std)[:, None, None], persistent=False)

    def normalise(self, pictures: Tensor) -> Tensor:
        """uint8 (b, h, w, 3) -> the network's input, float32 (b, 3, h, w)."""
        return (pictures.permute(0, 3, 1, 2).float() / 255.0 - self.mean) / self.std

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalised pictures (b, 3, h, w) -> the taps' maps [(b, c, h', w')], fine to coarse."""
        return taps_of(self.name, self.network, x)


def backbone(name: str, weights: str = "", seed: int = 0) -> Backbone:
    """A backbone by name; `weights` is "imagenet", "random" (from `seed`) or a file (.safetensors, .pth).

    The Gabor bank has nothing to load. For the others "" means "imagenet".
    """
    if name not in SPECS:
        raise OptionError(f"no backbone {name!r}{did_you_mean(name, SPECS)}")
    spec = SPECS[name]
    if not spec.weights:
        if weights not in ("", "formula"):
            raise OptionError(f"backbone '{name}' is given by formula: it takes no weights, not {weights!r}")
        network = spec.build()
        return Backbone(name, network, {"name": "formula", "sha256": _hash_of(network)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = spec.build()
    if weights == "random":
        return Backbone(name, network, {"name": f"random-{seed}", "sha256": _hash_of(network)})
    path = _file(name, weights)
    state, digest = read_state(path)
    _load(network, state, path)
    return Backbone(name, network, {"name": path.name, "sha256": digest})


def _file(name: str, weights: str) -> Path:
    if weights == "shipped":
        raise OptionError(f"there are no shipped weights of '{name}': give 'imagenet', 'random' or a file")
    if weights not in ("", "imagenet"):
        return Path(weights)
    source = SPECS[name].weights
    return lite_file(source) if source in LITE_FILES else imagenet_file(source)


def _load(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    wanted = network.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    wrong = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or wrong:
        some = ", ".join((missing + wrong)[:3])
        raise WeightsError(f"{path} does not fit this network ({len(missing + wrong)} tensors, such as {some})")
    network.load_state_dict({key: state[key].float() for key in wanted if key in state}, strict=False)


def _hash_of(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(key.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
