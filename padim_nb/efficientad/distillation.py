"""How a teacher is made: a patch description network learns to say what a large network says of each patch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, avg_pool2d, interpolate
from torchvision.transforms.functional import rgb_to_grayscale

from ..errors import OptionError
from ..features.backbones import Backbone, backbone, normalised
from ..textures import procedural_images, version
from ..util.files import ensure_dir
from . import pdn
from .cards import write_card
from .checkpoints import Checkpoints, Loop, generator
from .penalty import BANK, penalties


@dataclass(frozen=True)
class Distillation:
    """All that decides a distillation but its length. The large network sees pictures of twice the `side`."""

    size: str = "small"
    backbone: str = "wide_resnet101_2"
    weights: str = ""
    source: str = BANK
    pictures: int = 4096
    side: int = 256
    batch: int = 16
    rate: float = 1e-4
    decay: float = 1e-5
    drop_at: float = 1.0  # of the training: the rate falls to a tenth; the paper's stays
    grey: float = 0.1
    seed: int = 0
    bf16: bool = False


def description(net: Backbone, x: Tensor, shape: tuple[int, int]) -> Tensor:
    """What the teacher is to say: layer2 and layer3 side by side on one grid, channels averaged down to 384."""
    _, middle, coarse = net(x)
    sized = [interpolate(tap.float(), size=shape, mode="bilinear", align_corners=False) for tap in (middle, coarse)]
    both = torch.cat(sized, 1)
    if both.shape[1] == pdn.CHANNELS:
        return both
    flat = both.permute(0, 2, 3, 1).flatten(1, 2)
    return adaptive_avg_pool1d(flat, pdn.CHANNELS).unflatten(1, shape).permute(0, 3, 1, 2)


def distill(
    out: Path, settings: Distillation, minutes: float = 0, steps: int = 0, device: str = "cpu", every: float = 2.0
) -> Path:
    """Train a teacher for so many `minutes` or exactly so many `steps`; write it with its card to `out`.

    Killed and called again, it goes on from the last checkpoint. The paper takes 60,000 steps over ImageNet.
    """
    s = settings
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(s.seed)
        teacher = pdn.teacher(s.size, padding=True).to(device, memory_format=torch.channels_last)
    ensure_dir(out)
    net = backbone(s.backbone, s.weights).to(device)
    shown, named = _shown(s)
    shown = shown.to(device)
    facts = {"source": named, "taught by": net.weights, "minutes": minutes, "steps": steps}
    optimiser = torch.optim.Adam(teacher.parameters(), lr=s.rate, weight_decay=s.decay, foreach=True)
    path = out / f"pdn-{s.size}.checkpoint.safetensors"
    state = Checkpoints(path, asdict(s) | facts, every, {"teacher": teacher}, optimiser)
    loop = Loop(f"pdn-{s.size}", minutes, steps, state)
    mean, deviation = _statistics(net, shown, s)
    for step, done in loop:
        g = generator(s.seed, step)
        chosen = torch.randint(len(shown), (s.batch,), generator=g)
        small, large = _both(shown[chosen.to(device)], torch.rand(s.batch, generator=g) < s.grey)
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=s.bf16):
            with torch.no_grad():
                target = (description(net, large, _grid(s)) - mean) / deviation
            loss = (teacher(small).float() - target).square().mean()
        for group in optimiser.param_groups:
            group["lr"] = s.rate * (0.1 if done >= s.drop_at else 1.0)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        loop.look(loss)
    took = {"steps": loop.header["step"], "minutes": round(loop.header["seconds"] / 60, 2), "loss curve": loop.curve()}
    card = asdict(s) | facts | {"weights": net.weights["name"], "pictures seen": took["steps"] * s.batch} | took
    return write_card(out / f"pdn-{s.size}.safetensors", teacher.state_dict(), card, device)


def _shown(s: Distillation) -> tuple[Tensor, str]:
    """Pictures of twice the side, uint8 (n, 2 side, 2 side, 3), and what they are."""
    if s.source == BANK:
        kept = procedural_images(s.pictures, 1, 2 * s.side, s.seed)[:, 0]
        return torch.from_numpy(np.array(kept)), f"procedural bank {version()}, {s.pictures} programs"
    found, named = penalties(s.source, 2 * s.side, 2 * s.side, s.pictures, s.seed)
    if found is None:
        raise OptionError(f"a teacher needs pictures to learn from: give a folder or '{BANK}'")
    return found, named


def _both(shown: Tensor, grey: Tensor) -> tuple[Tensor, Tensor]:
    """The same pictures for the small network and, at twice the side, for the large one."""
    large = shown.permute(0, 3, 1, 2).float() / 255
    large = torch.where(grey.to(large.device)[:, None, None, None], rgb_to_grayscale(large, 3), large)
    return normalised(avg_pool2d(large, 2)), normalised(large)


def _grid(s: Distillation) -> tuple[int, int]:
    return (s.side // 4, s.side // 4)


@torch.no_grad()
def _statistics(net: Backbone, shown: Tensor, s: Distillation, pictures: int = 1000) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel of the description, (384, 1, 1) each, over the first pictures."""
    total = square = count = 0.0
    for some in shown[:pictures].split(s.batch):
        _, large = _both(some, torch.zeros(len(some), dtype=torch.bool))
        found = description(net, large, _grid(s)).double()
        total, square = total + found.sum((0, 2, 3)), square + found.square().sum((0, 2, 3))
        count += found[:, 0].numel()
    mean = total / count
    deviation = (square / count - mean.square()).clamp(min=1e-12).sqrt()
    return mean.float()[:, None, None], deviation.float()[:, None, None]
