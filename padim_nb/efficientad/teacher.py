"""EfficientAD's teachers: where their weights come from, and their channels brought to one scale."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..errors import DataError, WeightsError
from ..features.weights import PUBLISHED, published_path, read_state
from ..util.files import cache_root
from . import pdn
from .cards import shipped

SHIPPED = {"small": "pdn-small"}
# Of the published teachers: where each size's file is from, and its name.
PUBLISHERS = {
    "anomalib": {size: ("anomalib", f"pretrained_teacher_{size}.pth") for size in ("small", "medium")},
    "nelson1425": {size: (f"nelson1425-{size}", f"teacher_{size}.pth") for size in ("small", "medium")},
}


def load_teacher(size: str, weights: str = "", padding: bool = False) -> tuple[pdn.PatchDescription, dict[str, str]]:
    """A teacher with its weights, frozen.

    Args:
        size: "small" or "medium".
        weights: "shipped", "anomalib" or "nelson1425" (published files, got by `padim-nb weights get`), a file
            (.safetensors or .pth, also of nelson1425's plain Sequential; a bare name is looked for in the cache's
            weights too), or "" for the teacher that `padim-nb distill` wrote to the cache.
        padding: of its convolutions.

    Returns:
        The network, and the name and SHA-256 of its weights.
    """
    network = pdn.teacher(size, padding)
    path = _file(size, weights)
    state, digest = read_state(path)
    if weights in PUBLISHERS and digest != _sha256(size, weights):
        name = source_of(size, weights)
        raise WeightsError(f"{path} is not {weights}'s file any more: get it again, `padim-nb weights get {name}`")
    state = pdn.renamed(state, network.convolutions)
    expected = network.state_dict()
    wrong = [key for key, value in expected.items() if key not in state or state[key].shape != value.shape]
    if wrong:
        raise WeightsError(f"{path} is not a teacher of size '{size}' ({len(wrong)} tensors do not fit, as {wrong[0]})")
    network.load_state_dict({key: state[key].float() for key in expected})
    network.eval().requires_grad_(False)
    return network.to(memory_format=torch.channels_last), {"name": path.name, "sha256": digest}


def distilled(size: str, backbone: str = "wide_resnet101_2") -> Path:
    """Where `padim-nb distill` writes a teacher, unless it is given another folder."""
    return cache_root() / "weights" / f"pdn-{size}-{backbone}.safetensors"


def source_of(size: str, weights: str) -> str:
    """The name under which `padim-nb weights get` knows a published teacher; "" for any other."""
    return PUBLISHERS[weights][size][0] if weights in PUBLISHERS else ""


def publisher_of(size: str, digest: str) -> str:
    """Whose published teacher of a size has this SHA-256; "" where nobody's has."""
    return next((name for name in PUBLISHERS if _sha256(size, name) == digest), "")


def channel_statistics(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (1e-6 or more), float64 (channels,) each, over batches (n, channels, h, w)."""
    total, square, count = torch.zeros(()), torch.zeros(()), 0
    for batch in batches:
        values = batch.double()
        total, square = total + values.sum((0, 2, 3)), square + values.square().sum((0, 2, 3))
        count += values[:, 0].numel()
    mean = total / count
    return mean, (square / count - mean.square()).clamp(min=0).sqrt().clamp(min=1e-6)


@torch.no_grad()
def standardized(
    teacher: pdn.PatchDescription, images: Tensor, memory: int = 0
) -> tuple[pdn.PatchDescription, list[Tensor]]:
    """A copy of the teacher whose channels have mean 0 and standard deviation 1 over these images.

    Args:
        teacher: stays as it is; the statistics go into the last convolution of the copy.
        images: uint8 (n, height, width, 3).
        memory: bytes for outputs that are returned too, as they had to be computed anyway.

    Returns:
        The copy, and its outputs (1, 384, h, w) for the first images, as many as fit.
    """
    outputs: list[Tensor] = []

    def batches() -> Iterator[Tensor]:
        for batch in images.split(8):
            output = teacher(pdn.inputs(batch))
            outputs.extend(output.split(1)[: memory // output[:1].nbytes - len(outputs)])
            yield output

    mean, deviation = channel_statistics(batches())
    if not torch.isfinite(deviation).all():
        raise DataError("the outputs of the teacher are not finite: check its weights")
    scaled = copy.deepcopy(teacher)
    last = scaled.last
    last.weight.copy_((last.weight.double() / deviation[:, None, None, None]).float())
    last.bias.copy_(((last.bias.double() - mean) / deviation).float())
    shift, scale = (value[:, None, None].float() for value in (mean, deviation))
    return scaled.eval().requires_grad_(False), [output.sub_(shift).div_(scale) for output in outputs]


def _sha256(size: str, weights: str) -> str:
    """The SHA-256 of a published teacher's file."""
    source, file = PUBLISHERS[weights][size]
    return dict(PUBLISHED[source].members).get(file, PUBLISHED[source].digest)


def _file(size: str, weights: str) -> Path:
    if weights == "shipped":
        if size not in SHIPPED:
            raise WeightsError(f"no teacher of size '{size}' is shipped: make one (`padim-nb distill --size {size}`)")
        return shipped(SHIPPED[size])
    if weights in PUBLISHERS:
        return published_path(*PUBLISHERS[weights][size])
    if weights:
        cached = cache_root() / "weights" / weights
        return cached if cached.is_file() and not Path(weights).is_file() else Path(weights)
    if not distilled(size).is_file():
        raise WeightsError(
            f"the teacher of size '{size}' that is distilled from WideResNet-101 is not here: make it once "
            f"(`padim-nb distill --size {size}`, hours), or give a file with `--weights PATH` ('shipped' is ours)"
        )
    return distilled(size)
