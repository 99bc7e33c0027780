"""How EfficientAD's student and autoencoder learn: the paper's losses, one step, and a run of steps that resumes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import adjust_brightness, adjust_contrast, adjust_saturation, rgb_to_grayscale

from ..features.backbones import normalized
from .checkpoints import Checkpoints, Loop, generator
from .pdn import Pair
from .settings import Training

JITTERS = (adjust_brightness, adjust_contrast, adjust_saturation)
ADVICE = "the images or the teacher's weights may be broken, or the rate too high"
TARGETS = 2 << 30  # bytes of the teacher's outputs that stay in memory rather than being computed at each step
EVERY = 50  # steps between two readings of the loss: each waits for the device


@dataclass
class Losses:
    """The four terms of one step, each ()."""

    hard: Tensor
    penalty: Tensor
    autoencoder: Tensor
    student: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimized: the sum of all four."""
        return self.hard + self.penalty + self.autoencoder + self.student


def hardest(distance: Tensor, share: float) -> Tensor:
    """Mean of all values at or above their quantile `share`, without sorting them: the largest few by number."""
    n = distance.numel()
    return distance.reshape(-1).topk(n - math.ceil(share * (n - 1)), sorted=False).values.mean()


def losses(
    pair: Pair, target: Tensor, target_jittered: Tensor, batch: Tensor, hard: float, rng: torch.Generator | None
) -> Losses:
    """The loss of one training image I, with a penalty image P and a jittered I' (Algorithm 1 of the paper).

    With the standardized teacher T, the student's heads S1 and S2, and the autoencoder A:

        hard         mean of the largest 0.1 % of (T(I) - S1(I))^2
        penalty      mean of S1(P)^2
        autoencoder  mean of (T(I') - A(I'))^2
        student      mean of (A(I') - S2(I'))^2

    Args:
        pair: student and autoencoder.
        target: T(I), (1, 384, h, w).
        target_jittered: T(I'), (1, 384, h, w).
        batch: normalized I, P and I', (3, 3, height, width); I and I' alone where there is no penalty image.
        hard: the quantile from which on distances count, 0.999.
        rng: for dropout; None for none.
    """
    at_teacher, at_autoencoder = pair.heads(batch, len(batch) - 1)
    rebuilt = pair.autoencoder(batch[-1:], rng).float()
    at_teacher, at_autoencoder = at_teacher.float(), at_autoencoder.float()
    return Losses(
        hardest((target - at_teacher[:1]).square(), hard),
        at_teacher[1:].square().mean() if len(batch) == 3 else target.new_zeros(()),
        (target_jittered - rebuilt).square().mean(),
        (rebuilt - at_autoencoder).square().mean(),
    )


@dataclass
class StudentTrainer:
    """The training steps over images that stay on the device.

    Args:
        teacher: standardized.
        pair: student and autoencoder, which are trained.
        images: uint8 (n, height, width, 3).
        penalties: images of anything else, uint8 (m, height, width, 3), or None.
        training: settings.
        earlier: seconds of the steps before it was stopped, if it was; set by `run`.
    """

    teacher: nn.Module
    pair: Pair
    images: Tensor
    penalties: Tensor | None
    training: Training
    earlier: float = 0.0

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.Adam(
            self.pair.parameters(), lr=self.training.rate, weight_decay=self.training.decay, foreach=True
        )
        self._targets: dict[int, Tensor] = {}
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def run(self, checkpoint: Path | None, facts: Mapping[str, object], minutes: float = 2.0) -> float:
        """All steps, from the checkpoint on where there is one.

        Args:
            checkpoint: the file, or None.
            facts: what decides the training besides its settings: a checkpoint with other ones is refused.
            minutes: between two checkpoints.

        Returns:
            The mean of the last ten losses that were read.
        """
        t, state = self.training, None
        if checkpoint is not None:
            state = Checkpoints(checkpoint, {**asdict(t), **facts}, minutes, {"pair": self.pair}, self.optimizer)
        loop = Loop("training", 0, t.steps, state, EVERY, ADVICE)
        self.earlier = loop.seconds
        self.pair.train()
        for step, _ in loop:
            loop.record(self.step(step).total)
        self.pair.eval()
        last = [loss for _, loss in loop.curve[-10:]]
        return sum(last) / max(len(last), 1)

    def step(self, step: int) -> Losses:
        """One step of the algorithm; all that is random in it comes from the seed and the number of the step."""
        t, device = self.training, self.images.device
        rng = generator(t.seed, step)
        index = self._index(step)
        image = _floats(self.images[index : index + 1])
        jittered = jitter(image, rng)
        batch = normalized(torch.cat([image, *self._penalty(rng), jittered]))
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=t.bf16):
            with torch.no_grad():
                target = self._target(index, batch[:1])
                target_jittered = self.teacher(batch[-1:])
            terms = losses(
                self.pair, target.float(), target_jittered.float(), batch, t.hard, generator(t.seed, step, device)
            )
        for group in self.optimizer.param_groups:
            group["lr"] = t.rate * (0.1 if step >= int(t.drop_at * t.steps) else 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        terms.total.backward()
        self.optimizer.step()
        return terms

    def _index(self, step: int) -> int:
        """The image of a step: each comes once in every round, in a new order."""
        turn, place = divmod(step, len(self.images))
        if self._order[0] != turn:
            rng = generator(self.training.seed + 1, turn)
            self._order = (turn, torch.randperm(len(self.images), generator=rng))
        return int(self._order[1][place])

    def _penalty(self, rng: torch.Generator) -> list[Tensor]:
        """One penalty image (1, 3, height, width), or none."""
        if self.penalties is None:
            return []
        index = int(torch.randint(len(self.penalties), (1,), generator=rng))
        image = _floats(self.penalties[index : index + 1])
        gray = torch.rand(1, generator=rng).item() < self.training.gray
        return [rgb_to_grayscale(image, 3) if gray else image]

    def _target(self, index: int, image: Tensor) -> Tensor:
        """The teacher's output for an image as it is: nothing about it is random, so it is computed once."""
        if index in self._targets:
            return self._targets[index]
        target = self.teacher(image)
        if (len(self._targets) + 1) * target.nbytes <= TARGETS:
            self._targets[index] = target
        return target


def jitter(image: Tensor, rng: torch.Generator) -> Tensor:
    """Brightness, contrast or saturation, one of them, times 0.8 to 1.2; RGB in 0..1, (1, 3, height, width)."""
    kind = int(torch.randint(len(JITTERS), (1,), generator=rng))
    return JITTERS[kind](image, 0.8 + 0.4 * torch.rand(1, generator=rng).item())


def _floats(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).float() / 255
