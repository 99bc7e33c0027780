"""How `noisenet18` learnt to see: a ResNet-18 up to layer3, trained on the bank's procedural pictures alone."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import (
    adaptive_avg_pool2d,
    binary_cross_entropy_with_logits,
    cross_entropy,
    normalize,
    smooth_l1_loss,
)

from .backbones import SPECS, Backbone, backbone, taps_of
from .bank import bank
from .bank import version as bank_version
from .blemishes import blemished
from .cards import write_card
from .errors import WeightsError
from .files import made
from .training import Checkpoints, Loop, follow, generator, settle
from .views import Views, mixed, views

BINS = 8  # of the angle between two views
FRESH = (192, 1, 224)  # programs, pictures of each and their side that the batch statistics are taken on at the end


@dataclass(frozen=True)
class Pretraining:
    """All that decides a training but its length. `batch` programs a step, two views of each.

    In the second part (from the share `dense_from` on) views are larger and keep their colours, half of them carry a
    blemish, and each tap has to say where.
    """

    programs: int = 4096
    renders: int = 2
    side: int = 160
    batch: int = 160
    small: int = 64
    large: int = 96
    dense_from: float = 0.4  # of the training
    dense_batch: int = 96
    dense_strength: float = 0.4  # of the changes to colour, light and sharpness
    dense_weight: float = 2.0
    mixed_share: float = 0.25  # of the batch, once more, mixed, for the classes
    rate: float = 0.1
    decay: float = 1e-4
    temperature: float = 0.2
    class_weight: float = 0.5
    geometry_weight: float = 0.1
    ema: float = 0.999
    seed: int = 0
    bf16: bool = True


class Learner(nn.Module):
    """The network and what is thrown away after training: projection, classes, relative geometry."""

    def __init__(self, settings: Pretraining) -> None:
        super().__init__()
        spec = SPECS["noisenet18"]
        width = sum(spec.channels)
        self.network = spec.build()
        self.projection = nn.Sequential(nn.Linear(width, 512), nn.ReLU(), nn.Linear(512, 128))
        self.classes = nn.Linear(width, settings.programs)
        self.places = nn.ModuleList(nn.Conv2d(channels, 1, 1) for channels in spec.channels)
        self.geometry = nn.Sequential(nn.Linear(2 * width, 256), nn.ReLU(), nn.Linear(256, BINS + 4))

    def forward(self, x: Tensor) -> Tensor:
        """Views (b, 3, h, w) -> the pooled taps side by side (b, 448), so each of the layers PaDiM reads learns."""
        return pooled_of(self.taps(x))

    def taps(self, x: Tensor) -> list[Tensor]:
        """What PaDiM reads: [(b, c, h', w')], fine to coarse."""
        return taps_of("noisenet18", self.network, x)


def pooled_of(taps: list[Tensor]) -> Tensor:
    """The means of all channels of all taps, (b, 448)."""
    return torch.cat([tap.float().mean((2, 3)) for tap in taps], 1)


def contrast(z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss of unit vectors (b, d): views of one program attract, all others repel."""
    likeness = z @ z.T / temperature
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    likeness = likeness.masked_fill(itself, -1e9)
    same = (labels[:, None] == labels[None]) & ~itself
    log_share = likeness - torch.logsumexp(likeness, 1, keepdim=True)
    return -((log_share * same).sum(1) / same.sum(1)).mean()


def relative(out: Tensor, a: Views, b: Views) -> Tensor:
    """How well the angle, the zoom and the colour gains between two views of one picture were told from them."""
    turn = torch.remainder(b.angle - a.angle, 2 * torch.pi)
    bins = (turn / (2 * torch.pi) * BINS).long().clamp(max=BINS - 1)
    truth = torch.cat([(b.zoom - a.zoom)[:, None], b.gain - a.gain], 1)
    return cross_entropy(out[:, :BINS], bins) + smooth_l1_loss(out[:, BINS:], truth)


def where(learner: Learner, taps: list[Tensor], mask: Tensor) -> Tensor:
    """How badly each tap, by itself and linearly, says where the blemishes are; rare as they are, they count thrice."""
    total = mask.new_zeros(())
    for tap, place in zip(taps, learner.places, strict=True):
        truth = adaptive_avg_pool2d(mask, tap.shape[-2:])
        total = total + binary_cross_entropy_with_logits(place(tap.float()), truth, pos_weight=mask.new_tensor(3.0))
    return total / len(taps)


def dense_losses(learner: Learner, pictures: Tensor, chosen: Tensor, s: Pretraining, g: torch.Generator) -> Tensor:
    """The loss of one step of the second part: two views of each program, a blemish on the second."""
    n, device = len(chosen), pictures.device
    first, second = torch.randint(0, s.renders, (2, n), generator=g, device=device)
    both = views(torch.cat([pictures[chosen, first], pictures[chosen, second]]), s.large, g, s.dense_strength)
    spoilt, mask = blemished(both.pictures[n:], g)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=s.bf16):
        taps = learner.taps(torch.cat([both.pictures[:n], spoilt]))
    pooled = pooled_of(taps)
    z = normalize(learner.projection(pooled), dim=1)
    same = torch.nonzero(first == second)[:, 0]
    pairs = learner.geometry(torch.cat([pooled[:n], pooled[n:]], 1))[same]
    found = where(learner, taps, torch.cat([torch.zeros_like(mask), mask]))
    geometry = relative(pairs, both[:n][same], both[n:][same])
    likeness = contrast(z, torch.cat([chosen, chosen]), s.temperature)
    return s.dense_weight * found + 0.25 * likeness + s.geometry_weight * geometry


def losses(learner: Learner, pictures: Tensor, chosen: Tensor, size: int, s: Pretraining, g: torch.Generator) -> Tensor:
    """The loss of one step over the programs `chosen`; `pictures` is (programs, renders, side, side, 3)."""
    n, device = len(chosen), pictures.device
    first, second = torch.randint(0, s.renders, (2, n), generator=g, device=device)
    both = views(torch.cat([pictures[chosen, first], pictures[chosen, second]]), size, g)
    again = int(n * s.mixed_share)
    mix, partner, share = mixed(both.pictures[:again], g)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=s.bf16):
        pooled = learner(torch.cat([both.pictures, mix]))
    pooled, of_mix = pooled[: 2 * n], pooled[2 * n :]
    z = normalize(learner.projection(pooled), dim=1)
    loss = contrast(z, torch.cat([chosen, chosen]), s.temperature)
    told = learner.classes(of_mix)
    per_class = share * cross_entropy(told, chosen[:again], reduction="none")
    per_class += (1 - share) * cross_entropy(told, chosen[:again][partner], reduction="none")
    same = torch.nonzero(first == second)[:, 0]
    pairs = learner.geometry(torch.cat([pooled[:n], pooled[n:]], 1))[same]
    return (
        loss + s.class_weight * per_class.mean() + s.geometry_weight * relative(pairs, both[:n][same], both[n:][same])
    )


def pretrain(
    out: Path,
    settings: Pretraining,
    minutes: float = 0,
    steps: int = 0,
    device: str = "cpu",
    every: float = 2.0,
    start: Path | None = None,
) -> Path:
    """Train for so many `minutes`, or exactly so many `steps`, and write noisenet18.safetensors and its card to `out`.

    Killed and called again, it goes on from the last checkpoint. With `steps` the result is the same bit for bit on
    one machine; with `minutes` the learning rate follows the clock. `start` are earlier weights to begin from, with
    their card beside them, which becomes part of the new card.
    """
    if start is not None and not (start.is_file() and start.with_suffix(".json").is_file()):
        raise WeightsError(
            f"no weights {start} with a card {start.with_suffix('.json').name} beside them to begin from"
        )
    made(out)
    asked = asdict(settings) | {"minutes": minutes, "steps": steps, "bank": bank_version()}
    if start is not None:
        asked["began from"] = json.loads(start.with_suffix(".json").read_text())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        learner = Learner(settings)
    if start is not None:
        learner.network.load_state_dict(backbone("noisenet18", str(start)).network.state_dict())
    learner.to(device, memory_format=torch.channels_last)
    mean = copy.deepcopy(learner.network)
    optimiser = torch.optim.SGD(
        learner.parameters(), settings.rate, momentum=0.9, nesterov=True, weight_decay=settings.decay
    )
    modules = {"learner": learner, "mean": mean}
    state = Checkpoints(out / "noisenet18.checkpoint.safetensors", asked, every, modules, optimiser)
    loop = Loop("noisenet18", minutes, steps, state, views=0)
    pictures = torch.from_numpy(np.array(bank(settings.programs, settings.renders, settings.side, settings.seed)))
    pictures = pictures.to(device)
    for step, done in loop:
        g = generator(settings.seed, step, device)
        order, dense = torch.randperm(settings.programs, generator=g, device=device), done >= settings.dense_from
        chosen = order[: settings.dense_batch if dense else settings.batch]
        if dense:
            loss = dense_losses(learner, pictures, chosen, settings, g)
        else:
            loss = losses(learner, pictures, chosen, settings.small, settings, g)
        _step(optimiser, loss, settings.rate * _shape(done, step))
        follow(mean, learner.network, min(settings.ema, (1 + step) / (10 + step)))
        loop.header["views"] += 2 * len(chosen) + (0 if dense else int(len(chosen) * settings.mixed_share))
        loop.look(loss)
    fresh = torch.from_numpy(np.array(bank(*FRESH, settings.seed + 1)[:, 0])).to(device)
    net = Backbone("noisenet18", mean, {}).to(device)
    settle(net, [net.normalise(some) for some in fresh.split(32)])
    seconds, seen = loop.header["seconds"], loop.header["views"]
    facts = {"steps": loop.header["step"], "views": seen, "minutes": round(seconds / 60, 2), "loss curve": loop.curve()}
    tensors = {key: value for key, value in mean.state_dict().items() if not key.endswith("num_batches_tracked")}
    return write_card(out / "noisenet18.safetensors", tensors, asked | facts, device)


def _step(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def _shape(done: float, step: int) -> float:
    """The learning rate's course: a short rise, then half a cosine."""
    return min(1.0, (step + 1) / 100) * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * min(done, 1.0))).item())
