"""How a teacher is made: a patch description network learns to imitate a large network's features of each patch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from itertools import count, islice
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, conv2d, interpolate

from ..data.images import ahead, load_image
from ..errors import DataError
from ..features.backbones import Backbone, backbone
from ..textures import procedural_images, version
from ..util.files import ensure_dir
from ..util.validation import validated
from . import pdn
from .capture import Captured
from .cards import write_card
from .checkpoints import Loop, adam, descend, expect_one_length, generator, set_rate
from .penalty import images_below
from .settings import PROCEDURAL, Share, Size
from .teacher import channel_statistics, distilled, load_teacher

Box: TypeAlias = tuple[float, float, float, float]
HELD_OUT = 64  # images of a source, at most, on which the card's loss is taken
POOLED = 1024  # numbers to which PatchCore pools the 3 x 3 patches of a layer
PHOTOGRAPHS = "photographs"
DECODED = 1 << 30  # bytes of a folder's images that stay in memory rather than being decoded at each draw
# Color photographs that come with scikit-image and scikit-learn: (package, folder, files).
_SHIPPED = (
    ("skimage", "data", ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "ihc.png",
                         "motorcycle_left.png", "motorcycle_right.png", "retina.jpg", "rocket.jpg")),
    ("sklearn", "datasets/images", ("china.jpg", "flower.jpg")),
)  # fmt: skip


@validated
class Distillation:
    """Everything that decides a distillation but its length. The defaults are the paper's, but for the images.

    Args:
        size: of the teacher.
        backbone: the large network; its last two layers are imitated.
        weights: of the large network, see `backbone`.
        source: where images come from, each source in equal parts: folders, "procedural", or "photographs" for those
            that scikit-image and scikit-learn ship.
        images: number of procedural images.
        side: pixels of the teacher's images; the large network sees the same ones at twice the side.
        crop: least side of a random crop of an image before it is resized, as a share of its sides; 1 for none.
        held_out: share of the images of each source that are not learned from; the card has the loss on them.
        statistics: number of images from which mean and deviation of the targets are taken.
        batch: images a step.
        rate: learning rate of Adam.
        decay: weight decay of Adam.
        drop_at: share of the training after which the rate falls to a tenth; 1 for never.
        gray: share of the images that are made gray.
        start: a teacher's weights to go on from, see `load_teacher`; "" for none.
        seed: of the weights and of what is drawn in each step.
        bf16: compute in bfloat16.
    """

    size: Size = "small"
    backbone: str = "wide_resnet101_2"
    weights: str = ""
    source: Annotated[tuple[str, ...], Field(min_length=1)] = (PROCEDURAL,)
    images: Annotated[int, Field(ge=2)] = 4096
    side: Annotated[int, Field(ge=32, multiple_of=8)] = 256
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    held_out: Share = 0.02
    statistics: Annotated[int, Field(ge=1)] = 10_000
    batch: Annotated[int, Field(ge=1)] = 16
    rate: Annotated[float, Field(gt=0)] = 1e-4
    decay: Annotated[float, Field(ge=0)] = 1e-5
    drop_at: Annotated[float, Field(ge=0, le=1)] = 1.0
    gray: Annotated[float, Field(ge=0, le=1)] = 0.1
    start: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    bf16: bool = False


class TargetFeatures(nn.Module):
    """The target of a distillation: a large network's last two layers as 192 + 192 numbers for each place.

    As in PatchCore, the 3 x 3 patches of each layer are averaged down to 1024 numbers, the coarse layer is resized to
    the fine one's grid, and both are averaged down to 384, half from each. All of this is linear, so here each layer
    takes one convolution, and only its 192 results are resized.

    Args:
        net: the large network.
        shape: (h, w) of the result.
    """

    mean: Tensor
    deviation: Tensor
    kernel0: Tensor
    kernel1: Tensor

    def __init__(self, net: Backbone, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("mean", torch.zeros(pdn.CHANNELS, 1, 1))
        self.register_buffer("deviation", torch.ones(pdn.CHANNELS, 1, 1))
        self._net = [net]  # in a list: its weights are not part of this module's state
        for number, channels in enumerate(net.channels[-2:]):
            self.register_buffer(f"kernel{number}", _averages(channels), persistent=False)

    def raw(self, images: Tensor) -> Tensor:
        """Images, uint8 (n, height, width, 3) -> (n, 384, h, w), channels as they are."""
        net = self._net[0]
        layers = net(net.normalize(images))[-2:]
        kernels = (self.kernel0, self.kernel1)
        with torch.autocast(images.device.type, enabled=False):
            parts = [conv2d(layer.float(), kernel, padding=1) for layer, kernel in zip(layers, kernels, strict=True)]
        return torch.cat([interpolate(y, size=self.shape, mode="bilinear", align_corners=False) for y in parts], 1)

    def forward(self, images: Tensor) -> Tensor:
        """`raw` with mean 0 and standard deviation 1 in each channel, once `standardize` was called."""
        return (self.raw(images) - self.mean) / self.deviation

    @torch.no_grad()
    def standardize(self, batches: Iterable[Tensor]) -> None:
        """Set mean and deviation from batches of images, uint8 (n, height, width, 3)."""
        mean, deviation = channel_statistics(self.raw(images) for images in batches)
        self.mean.copy_(mean[:, None, None])
        self.deviation.copy_(deviation[:, None, None])


def distill(
    out: Path | None,
    settings: Distillation,
    minutes: float = 0,
    steps: int = 0,
    device: str = "cpu",
    every: float = 2.0,
) -> Path:
    """Train a teacher; the paper takes 60,000 steps over ImageNet. A stopped training resumes when called again.

    Args:
        out: folder for weights, card and checkpoint; None for the cache, where the recipes look.
        settings: everything else that decides it.
        minutes: length of the training, or 0.
        steps: length of the training, or 0; exactly one of `minutes` and `steps` is above 0.
        device: where it computes.
        every: minutes between two checkpoints.

    Returns:
        The file of the weights, pdn-SIZE-BACKBONE.safetensors, with its card (.json) beside it.
    """
    expect_one_length(minutes, steps)  # before images are rendered
    s = settings
    path = (out or distilled(s.size).parent) / distilled(s.size, s.backbone).name
    ensure_dir(path.parent)
    teacher, start = _fresh_teacher(s)
    teacher = teacher.to(device)
    net = backbone(s.backbone, s.weights).to(device)
    target = TargetFeatures(net, (s.side // 4, s.side // 4)).to(device)
    sources = [_source(name, s) for name in s.source]
    plain = asdict(s) | {"source": [source.name for source in sources], "taught by": net.weights, "start": start}
    optimizer = adam(list(teacher.parameters()), s.rate, s.decay)
    identity = plain | {"minutes": minutes, "steps": steps, "files": [source.fingerprint for source in sources]}
    loop = Loop(path.stem, {"teacher": teacher, "target": target}, optimizer, minutes, steps)
    loop.resume(path.with_suffix(".checkpoint.safetensors"), identity, every)
    if loop.step == 0:
        number = min(s.statistics, sum(len(source.learned) for source in sources))
        first = islice(_batches(sources, s, s.seed + 1), -(-number // s.batch))
        target.standardize(large.to(device) for _, large in first)
    batches = _batches(sources, s, s.seed, loop.step)

    def update(small: Tensor, large: Tensor) -> Tensor:
        loss = _loss(teacher, target, small, large, s)
        descend(optimizer, loss)
        return loss.detach()

    captured = Captured(torch.Generator(device)) if device.startswith("cuda") else None
    for _, done in loop:
        small, large = (images.to(device) for images in next(batches))
        set_rate(optimizer, s.rate * (0.1 if done >= s.drop_at else 1.0))
        loop.record(captured(update, small, large) if captured else update(small, large))
    card = identity | {
        "weights": net.weights["name"],
        "steps": loop.step,
        "minutes": round(loop.seconds / 60, 2),
        "images seen": loop.step * s.batch,
        "held-out loss": {source.name: _held_out_loss(teacher, target, source, s, device) for source in sources},
        "loss curve": loop.curve[:: max(1, len(loop.curve) // 100)],
    }
    return write_card(path, teacher.state_dict(), card, device)


def _fresh_teacher(s: Distillation) -> tuple[pdn.PatchDescription, dict[str, object]]:
    """The network before its first step, and the weights that it starts from, if any: name, SHA-256, card."""
    if s.start:
        teacher, start = load_teacher(s.size, s.start, padding=True)
        beside = Path(s.start).with_suffix(".json")
        known = {"card": json.loads(beside.read_text())} if beside.is_file() else {}
        return teacher.train().requires_grad_(True), {**start, **known}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(s.seed)
        return pdn.teacher(s.size, padding=True).to(memory_format=torch.channels_last), {}


@dataclass
class SourceImages:
    """The images of one source, in files or in memory; which of them (index arrays) are learned from or held out."""

    name: str
    images: Sequence[Path] | np.ndarray
    learned: np.ndarray
    held_out: np.ndarray
    _decoded: dict[int, Image.Image] = field(default_factory=dict, repr=False)
    _bytes: int = 0

    @property
    def fingerprint(self) -> str:
        """A hash of the files' names and sizes (there may be a million of them); "" for images in memory."""
        paths = [image for image in self.images if isinstance(image, Path)]
        facts = "".join(f"{path.name}\0{path.stat().st_size}\n" for path in paths)
        return hashlib.sha256(os.fsencode(facts)).hexdigest() if paths else ""

    def image(self, index: int) -> Image.Image:
        """One of them, in color."""
        if index in self._decoded:
            return self._decoded[index]
        image = self.images[index]
        pixels = load_image(image) if isinstance(image, Path) else np.asarray(image)
        decoded = Image.fromarray(pixels)
        if isinstance(image, Path) and self._bytes + pixels.nbytes <= DECODED:
            self._bytes += pixels.nbytes
            self._decoded[index] = decoded
        return decoded


def drawn(sources: Sequence[SourceImages], s: Distillation, draw: Sequence[float]) -> tuple[Tensor, Tensor]:
    """A training image of the teacher's and of the large network's size, uint8 (h, w, 3).

    Args:
        sources: of the images.
        s: side, crop, and share of gray images.
        draw: six numbers in 0..1: source, image, size of the crop, its place from left and top, gray or not.
    """
    place, number, zoom, left, top, gray = draw
    source = sources[int(place * len(sources))]
    image = source.image(source.learned[int(number * len(source.learned))])
    share = s.crop + zoom * (1 - s.crop)
    width, height = image.size
    x, y = left * (1 - share) * width, top * (1 - share) * height
    return _both(image, s.side, (x, y, x + share * width, y + share * height), gray < s.gray)


def _both(image: Image.Image, side: int, box: Box | None = None, gray: bool = False) -> tuple[Tensor, Tensor]:
    """The box of an image, resized for the teacher and for the large network: uint8 (h, w, 3)."""
    if gray:
        image = image.convert("L").convert("RGB")
    small, large = (image.resize((n, n), Image.Resampling.BILINEAR, box) for n in (side, 2 * side))
    return torch.from_numpy(np.array(small)), torch.from_numpy(np.array(large))


def _batches(
    sources: Sequence[SourceImages], s: Distillation, seed: int, start: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of (small, large) images from step `start` on, decoded ahead by threads."""
    steps = (torch.rand(s.batch, 6, dtype=torch.float64, generator=generator(seed, step)) for step in count(start))
    images = ahead(lambda draw: drawn(sources, s, draw), (draw for step in steps for draw in step.tolist()))
    while True:
        small, large = zip(*islice(images, s.batch), strict=True)
        yield torch.stack(small), torch.stack(large)


def _loss(teacher: nn.Module, target: TargetFeatures, small: Tensor, large: Tensor, s: Distillation) -> Tensor:
    """Mean squared distance of the teacher's output to the target, of images uint8 (n, height, width, 3)."""
    with torch.autocast(small.device.type, dtype=torch.bfloat16, enabled=s.bf16):
        with torch.no_grad():
            wanted = target(large)
        return (teacher(pdn.inputs(small)).float() - wanted).square().mean()


@torch.no_grad()
def _held_out_loss(
    teacher: nn.Module, target: TargetFeatures, source: SourceImages, s: Distillation, device: str
) -> float:
    losses = []
    for index in source.held_out[:HELD_OUT]:
        small, large = _both(source.image(index), s.side)
        losses.append(_loss(teacher, target, small[None].to(device), large[None].to(device), s).item())
    return round(sum(losses) / len(losses), 5)


def _source(source: str, s: Distillation) -> SourceImages:
    images: Sequence[Path] | np.ndarray
    if source == PROCEDURAL:
        images, name = procedural_images(s.images, 2 * s.side, s.seed), f"procedural images {version()}"
    elif source == PHOTOGRAPHS:
        images, name = photographs(), "photographs of scikit-image and scikit-learn"
    else:
        images, name = images_below(source, "source"), Path(source).name
    held_out = max(1, round(s.held_out * len(images)))
    if held_out >= len(images):
        raise DataError(f"{len(images)} images in {source}: give at least 2, one of them is held out")
    order = np.random.default_rng(s.seed).permutation(len(images))
    return SourceImages(f"{len(images)} {name}", images, np.sort(order[held_out:]), np.sort(order[:held_out]))


def photographs() -> list[Path]:
    """The color photographs that scikit-image and scikit-learn ship, as far as they are installed."""
    paths = []
    for package, folder, names in _SHIPPED:
        spec = find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            paths += [Path(spec.submodule_search_locations[0]) / folder / name for name in names]
    return [path for path in paths if path.is_file()]


def _averages(channels: int) -> Tensor:
    """(192, channels, 3, 3): a layer's 3 x 3 patches, flattened, averaged down to 1024 and then to 192 numbers."""
    half = pdn.CHANNELS // 2
    rows = [
        adaptive_avg_pool1d(adaptive_avg_pool1d(part[None], POOLED), half)[0]
        for part in torch.eye(channels * 9).split(1024)
    ]
    return torch.cat(rows).T.reshape(half, channels, 3, 3).contiguous()
