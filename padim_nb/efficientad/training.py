"""How EfficientAD's student and autoencoder learn: the paper's losses, one step, and a run of steps that resumes."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import adjust_brightness, adjust_contrast, adjust_saturation, rgb_to_grayscale

from ..data.images import Frame, ahead, load_image
from ..features.backbones import normalized
from .capture import Captured
from .checkpoints import Loop, adam, descend, generator, set_rate
from .pdn import Pair
from .settings import Training

JITTERS = (adjust_brightness, adjust_contrast, adjust_saturation)
ADVICE = "the images or the teacher's weights may be broken, or the rate too high"
Pixels = TypeVar("Pixels", Tensor, Image.Image)
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
        targets: the teacher's outputs (1, 384, h, w) for the first of the images, as far as they are kept; nothing
            about them is random.
        originals: the images' files, where they are jittered at their own size.
        earlier: seconds of the steps before it was stopped, if it was; set by `run`.
    """

    teacher: nn.Module
    pair: Pair
    images: Tensor
    penalties: Tensor | None
    training: Training
    targets: Sequence[Tensor] = ()
    originals: OriginalJitter | None = None
    earlier: float = 0.0

    def __post_init__(self) -> None:
        t, device = self.training, self.images.device
        self.optimizer = adam(list(self.pair.parameters()), t.rate, t.decay)
        self._dropout = torch.Generator(device)
        self._captured = Captured(self._dropout) if device.type == "cuda" else None
        self._networks = (self.teacher, self.pair)
        if t.bf16:  # copies whose weights are cast all at once, where autocast casts each one and its gradient
            self._networks = (copy.deepcopy(self.teacher).bfloat16(), copy.deepcopy(self.pair).bfloat16())
            self._weights: list[Tensor] = list(self.pair.parameters())
            self._copies: list[Tensor] = list(self._networks[1].parameters())
            self._slopes = [torch.zeros_like(weight) for weight in self._weights]
            for weight, slope in zip(self._weights, self._slopes, strict=True):
                weight.grad = slope

    def run(self, checkpoint: Path | None, identity: Mapping[str, object], minutes: float = 2.0) -> float:
        """All steps, from the checkpoint on where there is one.

        Args:
            checkpoint: the file, or None.
            identity: all that decides the training, see `Loop.resume`: a checkpoint with other values is refused.
            minutes: between two checkpoints.

        Returns:
            The mean of the last ten losses that were read.
        """
        t = self.training
        loop = Loop("training", {"pair": self.pair}, self.optimizer, steps=t.steps, every=EVERY, advice=ADVICE)
        if checkpoint is not None:
            loop.resume(checkpoint, identity, minutes)
        self.earlier = loop.seconds
        self.pair.train()
        for step, _ in loop:
            loop.record(self.step(step).total)
        self.pair.eval()
        last = [loss for _, loss in loop.curve[-10:]]
        return sum(last) / max(len(last), 1)

    def step(self, step: int) -> Losses:
        """One step of the algorithm; all that is random in it comes from the seed and the number of the step.

        On a GPU the next step overwrites the losses.
        """
        t, rng = self.training, generator(self.training.seed, step)
        index = image_of_step(step, len(self.images), t.seed)
        image = _floats(self.images[index : index + 1])
        jittered = jitter(image, rng)
        if self.originals is not None:  # with the same draws
            jittered = _floats(torch.from_numpy(self.originals(step)[None]).to(image.device))
        batch = normalized(torch.cat([image, *self._penalty(rng), jittered]))
        with self._precision():
            target = self._target(index, batch[:1]).float()
        generator(t.seed, step, self._dropout)
        set_rate(self.optimizer, t.rate * (0.1 if step >= int(t.drop_at * t.steps) else 1.0))
        return self._captured(self._update, batch, target) if self._captured else self._update(batch, target)

    def _update(self, batch: Tensor, target: Tensor) -> Losses:
        """The arithmetic of a step: of tensors alone, with nothing that a CUDA graph cannot hold.

        Args:
            batch: normalized I, P and I' as for `losses`.
            target: T(I), (1, 384, h, w).
        """
        t, (teacher, pair) = self.training, self._networks
        if t.bf16:
            with torch.no_grad():
                torch._foreach_copy_(self._copies, self._weights)
        with self._precision():
            with torch.no_grad():
                target_jittered = teacher(batch[-1:]).float()
            terms = losses(pair, target, target_jittered, batch, t.hard, self._dropout)
        if t.bf16:
            torch._foreach_copy_(self._slopes, torch.autograd.grad(terms.total, self._copies))
            self.optimizer.step()
        else:
            descend(self.optimizer, terms.total)
        return Losses(*(term.detach() for term in (terms.hard, terms.penalty, terms.autoencoder, terms.student)))

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.images.device.type, dtype=torch.bfloat16, enabled=self.training.bf16)

    def _penalty(self, rng: torch.Generator) -> list[Tensor]:
        """One penalty image (1, 3, height, width), or none."""
        if self.penalties is None:
            return []
        index = int(torch.randint(len(self.penalties), (1,), generator=rng))
        image = self.penalties[index : index + 1]
        if torch.rand(1, generator=rng).item() >= self.training.gray:
            return [_floats(image)]
        if self.training.augment == "original":
            return [_floats(pillow_gray(image))]
        return [rgb_to_grayscale(_floats(image), 3)]

    @torch.no_grad()
    def _target(self, index: int, image: Tensor) -> Tensor:
        """The teacher's output for an image as it is."""
        return self.targets[index] if index < len(self.targets) else self.teacher(image)


def image_of_step(step: int, images: int, seed: int) -> int:
    """The number of a step's image: each comes once in every round, in a new order."""
    turn, place = divmod(step, images)
    return int(torch.randperm(images, generator=generator(seed + 1, turn))[place])


@dataclass
class OriginalJitter:
    """The autoencoder's image of each step, jittered at its own size and then resized; threads prepare the next steps.

    Args:
        paths: of the training images, in order.
        frame: of the detector.
        training: settings.
    """

    paths: Sequence[Path]
    frame: Frame
    training: Training
    _next: int = -1

    def __call__(self, step: int) -> np.ndarray:
        """The image of a step, uint8 (height, width, 3)."""
        if step != self._next:
            self._images = ahead(self.image, range(step, self.training.steps))
        self._next = step + 1
        return next(self._images)

    def image(self, step: int) -> np.ndarray:
        """The same, without looking ahead."""
        path = self.paths[image_of_step(step, len(self.paths), self.training.seed)]
        jittered = jitter(Image.fromarray(load_image(path)), generator(self.training.seed, step))
        return np.array(self.frame.apply(np.asarray(jittered)))  # writable, as torch wants it


def jitter(image: Pixels, rng: torch.Generator) -> Pixels:
    """Brightness, contrast or saturation, one of them, times 0.8 to 1.2, of RGB in 0..1 (1, 3, height, width), or of
    Pillow's image by Pillow's rules.
    """
    kind = int(torch.randint(len(JITTERS), (1,), generator=rng))
    return JITTERS[kind](image, 0.8 + 0.4 * torch.rand(1, generator=rng).item())


def pillow_gray(images: Tensor) -> Tensor:
    """The gray of Pillow's mode L, three times: uint8 (n, height, width, 3)."""
    red, green, blue = images.int().unbind(-1)
    gray = (19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16
    return gray.to(torch.uint8)[..., None].expand(images.shape)


def _floats(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).float() / 255
