"""EfficientAD's teachers: where their weights come from, and their descriptions brought to one scale."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor

from ..errors import DataError, WeightsError
from ..features.backbones import normalised
from ..features.weights import read_state
from ..util.files import cache_root
from . import pdn
from .cards import shipped

SHIPPED = {"small": "pdn-small"}


def load_teacher(size: str, weights: str = "", padding: bool = False) -> tuple[pdn.PatchDescription, dict[str, str]]:
    """(the network, its weights' name and hash).

    `weights` is "shipped" (learnt from procedural pictures), a file (.safetensors, .pth), or "" for the one that
    `padim-nb distill` left in the cache.
    """
    network = pdn.teacher(size, padding)
    path = _file(size, weights)
    state, digest = read_state(path)
    state = pdn.renamed(state, network.convolutions)
    wanted = network.state_dict()
    wrong = [key for key, value in wanted.items() if key not in state or state[key].shape != value.shape]
    if wrong:
        raise WeightsError(f"{path} is not a teacher of size '{size}' ({len(wrong)} tensors do not fit, as {wrong[0]})")
    network.load_state_dict({key: state[key].float() for key in wanted})
    network.eval().requires_grad_(False)
    return network.to(memory_format=torch.channels_last), {"name": path.name, "sha256": digest}


def distilled(size: str) -> Path:
    """Where a teacher distilled on this machine is kept."""
    return cache_root() / "weights" / f"pdn-{size}-wide_resnet101_2.safetensors"


@torch.no_grad()
def standardised(teacher: pdn.PatchDescription, shown: Tensor) -> pdn.PatchDescription:
    """A teacher whose channels have mean 0 and deviation 1 over these pictures, by its last convolution's weights."""
    total = square = count = 0.0
    for some in shown.split(8):
        found = teacher(normalised(some.permute(0, 3, 1, 2).float() / 255)).double()
        total, square = total + found.sum((0, 2, 3)), square + found.square().sum((0, 2, 3))
        count += found[:, 0].numel()
    mean = total / count
    deviation = (square / count - mean.square()).clamp(min=0).sqrt()
    if not torch.isfinite(deviation).all():
        raise DataError("the teacher's descriptions are not finite: check its weights")
    deviation = deviation.clamp(min=1e-6)
    own = copy.deepcopy(teacher)
    last = getattr(own, own.convolutions[-1])
    last.weight.copy_((last.weight.double() / deviation[:, None, None, None]).float())
    last.bias.copy_(((last.bias.double() - mean) / deviation).float())
    return own.eval().requires_grad_(False)


def _file(size: str, weights: str) -> Path:
    if weights == "shipped":
        if size not in SHIPPED:
            raise WeightsError(f"no teacher of size '{size}' is shipped: distil one (`padim-nb distill --size {size}`)")
        return shipped(SHIPPED[size])
    if weights:
        return Path(weights)
    if not distilled(size).is_file():
        raise WeightsError(
            f"the teacher of size '{size}' that the paper distils from WideResNet-101 is not here: make it once "
            f"(`padim-nb distill --size {size}`, hours), or give a file with `--weights PATH` ('shipped' is ours)"
        )
    return distilled(size)
