"""How EfficientAD's student and autoencoder learn: the paper's losses, one step, and a run of steps that resumes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import adjust_brightness, adjust_contrast, adjust_saturation, rgb_to_grayscale

from ..features.backbones import normalised
from .checkpoints import Checkpoints, Loop, generator
from .pdn import Pair
from .settings import Training

JITTERS = (adjust_brightness, adjust_contrast, adjust_saturation)
ADVICE = "the images or the teacher's weights may be broken, or the rate too high"
TARGETS = 2 << 30  # bytes of the teacher's descriptions that are kept rather than computed at each step
LOOK = 50  # steps between two looks at the losses: each look waits for the device


@dataclass
class Losses:
    """The four terms of one step."""

    hard: Tensor
    penalty: Tensor
    autoencoder: Tensor
    student: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised: all four with weight 1."""
        return self.hard + self.penalty + self.autoencoder + self.student


def hardest(distance: Tensor, share: float) -> Tensor:
    """Mean of all values at or above their quantile `share`, without sorting them: the largest few by number."""
    n = distance.numel()
    return distance.reshape(-1).topk(n - math.ceil(share * (n - 1)), sorted=False).values.mean()


def losses(
    pair: Pair, target: Tensor, target_jittered: Tensor, batch: Tensor, hard: float, g: torch.Generator | None
) -> Losses:
    """The terms for one training picture: `batch` is the picture, a penalty picture and the jittered picture, or the
    first and the last of them; the targets are the normalised teacher's on the picture and on its jittered self.
    """
    at_teacher, at_autoencoder = pair.heads(batch, len(batch) - 1)
    guess = pair.autoencoder(batch[-1:], g).float()
    at_teacher, at_autoencoder = at_teacher.float(), at_autoencoder.float()
    return Losses(
        hardest((target - at_teacher[:1]).square(), hard),
        at_teacher[1:].square().mean() if len(batch) == 3 else target.new_zeros(()),
        (target_jittered - guess).square().mean(),
        (guess - at_autoencoder).square().mean(),
    )


@dataclass
class StudentTrainer:
    """A run of training steps over pictures that stay on the device, uint8 (n, h, w, 3).

    `teacher` gives normalised descriptions. `penalties` are pictures of anything else, or None. `earlier` are the
    seconds of its steps before it was stopped, if it was.
    """

    teacher: nn.Module
    pair: Pair
    pictures: Tensor
    penalties: Tensor | None
    training: Training
    earlier: float = 0.0

    def __post_init__(self) -> None:
        self.optimiser = torch.optim.Adam(
            self.pair.parameters(), lr=self.training.rate, weight_decay=self.training.decay, foreach=True
        )
        self._targets: dict[int, Tensor] = {}
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def run(self, checkpoint: Path | None, facts: dict, minutes: float = 2.0) -> float:
        """All steps, from the last checkpoint on where there is one; returns the mean loss of the last looks."""
        t, state = self.training, None
        if checkpoint is not None:
            state = Checkpoints(checkpoint, asdict(t) | facts, minutes, {"pair": self.pair}, self.optimiser)
        loop = Loop("training", 0, t.steps, state, LOOK, ADVICE)
        self.earlier = loop.header["seconds"]
        self.pair.train()
        for step, _ in loop:
            loop.look(self.step(step).total)
        self.pair.eval()
        last = [loss for _, loss in loop.header["curve"][-10:]]
        return sum(last) / max(len(last), 1)

    def step(self, step: int) -> Losses:
        """One step of the algorithm; all that is random in it comes from the seed and the number of the step."""
        t, device = self.training, self.pictures.device
        g = generator(t.seed, step)
        index = self._picture(step)
        picture = _floats(self.pictures[index : index + 1])
        jittered = jitter(picture, g)
        batch = [picture, jittered] if self.penalties is None else [picture, self._penalty(g), jittered]
        batch = normalised(torch.cat(batch))
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=t.bf16):
            with torch.no_grad():
                target = self._target(index, batch[:1])
                target_jittered = self.teacher(batch[-1:])
            terms = losses(
                self.pair, target.float(), target_jittered.float(), batch, t.hard, generator(t.seed, step, device)
            )
        for group in self.optimiser.param_groups:
            group["lr"] = t.rate * (0.1 if step >= int(t.drop_at * t.steps) else 1.0)
        self.optimiser.zero_grad(set_to_none=True)
        terms.total.backward()
        self.optimiser.step()
        return terms

    def _picture(self, step: int) -> int:
        """Which picture a step is about: each comes once in every round, in a new order."""
        turn, place = divmod(step, len(self.pictures))
        if self._order[0] != turn:
            g = generator(self.training.seed + 1, turn)
            self._order = (turn, torch.randperm(len(self.pictures), generator=g))
        return int(self._order[1][place])

    def _penalty(self, g: torch.Generator) -> Tensor:
        index = int(torch.randint(len(self.penalties), (1,), generator=g))
        picture = _floats(self.penalties[index : index + 1])
        grey = torch.rand(1, generator=g).item() < self.training.grey
        return rgb_to_grayscale(picture, 3) if grey else picture

    def _target(self, index: int, picture: Tensor) -> Tensor:
        """The teacher on a picture as it is, kept when first asked for: nothing about that branch is random."""
        if index in self._targets:
            return self._targets[index]
        target = self.teacher(picture)
        if (len(self._targets) + 1) * target.nbytes <= TARGETS:
            self._targets[index] = target
        return target


def jitter(picture: Tensor, g: torch.Generator) -> Tensor:
    """Brightness, contrast or saturation, one of them, by a factor of 0.8 to 1.2; RGB in 0..1 (1, 3, h, w)."""
    kind = int(torch.randint(len(JITTERS), (1,), generator=g))
    return JITTERS[kind](picture, 0.8 + 0.4 * torch.rand(1, generator=g).item())


def _floats(pictures: Tensor) -> Tensor:
    return pictures.permute(0, 3, 1, 2).float() / 255
