"""A student by least squares: random filters, and a last layer that is solved for the outputs of both its teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..data.groups import group_numbers
from ..data.mvtec import Sample
from ..efficientad import pdn
from ..efficientad.detector import TARGETS, EfficientAD, ordered
from ..efficientad.teacher import load_teacher, standardized
from ..util.devices import pick_device
from .model import CenteredAutoencoder, WeighedMaps
from .settings import LeastSquaresSettings
from .solution import LeastSquares

DECAY = 1e-5  # of Adam
DROPPED = 0.1  # times the rate, after `drop_at`


@dataclass
class LeastSquaresStudent(EfficientAD):
    """EfficientAD's three networks and maps, without its training: `fit` on good samples, `score` others.

    The student's layers stay random but for the last, which is solved by least squares for what teacher and autoencoder
    give on good images. The autoencoder learns what differs from the teacher's mean at each place, for a few steps. The
    differences are whitened, standardized at each place and weighed (`weighing`). There are no penalty images.

    A fit takes about a minute and is not resumed: `checkpoint` is not used.
    """

    KIND: ClassVar[str] = "least-squares-student"
    SETTINGS: ClassVar[type[Any]] = LeastSquaresSettings

    settings: LeastSquaresSettings  # type: ignore[assignment]

    @classmethod
    def from_settings(cls, settings: LeastSquaresSettings, device: str = "auto") -> LeastSquaresStudent:  # type: ignore[override]
        """A detector that is not fitted; the weights of its teacher must be here."""
        _, weights = load_teacher(settings.size, settings.weights)
        return cls(settings, pick_device(device), weights)  # type: ignore[arg-type]

    @property
    def seed(self) -> int:
        """What its random draws start from."""
        return self.settings.seed

    def fit(self, samples: Sequence[Sample], false_alarm: float | None = None) -> LeastSquaresStudent:
        """Learn from good samples; some are held out for the quantiles and the threshold, or `validation` is.

        Args:
            samples: at least 2, of at least 2 groups, or 1 beside `validation`. Groups are held out whole.
            false_alarm: a share of false alarms to `calibrate` for.
        """
        from .weighing import place_means, weigh  # scoring an image needs neither

        s = self.settings
        learned, held_out, others = self._thirds(samples)
        images, judged = self._images(learned), self._images(held_out)
        further = self._images(others) if others else images[:0]
        teacher, self.weights = load_teacher(s.size, s.weights)
        teacher, targets = standardized(teacher.to(self.device), images, TARGETS)
        model = self._networks((images.shape[1], images.shape[2]), teacher)
        model.pair.autoencoder.get_buffer("center").copy_(place_means(teacher, images, targets))
        loss = self._train_autoencoder(model, images, targets)
        self._solve_student(model, images, targets)
        weigh(model, images, targets, further)
        facts = {"steps": s.steps, "precision": "bfloat16" if self._bf16() else "float32", "loss": round(loss, 5)}
        self._fitted_with(model, torch.cat([images, further]), judged, group_numbers(held_out), facts, false_alarm)
        self.facts["shares"] = [round(share, 3) for share in model.shares]
        return self

    def _thirds(self, samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample], list[Sample]]:
        """Samples to learn from, to hold out, and to weigh the maps over: these of groups not learned from."""
        if self.validation:
            rest, held_out = np.random.default_rng(self.seed).permutation(len(samples)), list(self.validation)
        else:
            order, count = self._drawn(samples)
            rest, held_out = order[count:], ordered(samples, order[:count])
        learned, others = np.split(rest, [self.settings.images])
        groups = group_numbers(samples)
        others = others[~np.isin(groups[others], groups[learned])][: self.settings.calibration_images]
        return ordered(samples, learned), held_out, ordered(samples, others)

    def _networks(
        self,
        size: tuple[int, int],
        teacher: pdn.PatchDescription | None = None,
        map_size: tuple[int, int] | None = None,
    ) -> WeighedMaps:
        s = self.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            student = pdn.student(s.size, width=s.width)
            for name in student.convolutions[:-1]:  # He's rule keeps the scale of what passes through
                nn.init.kaiming_normal_(getattr(student, name).weight, nonlinearity="relu")
                nn.init.normal_(getattr(student, name).bias, std=0.1)
            pair = pdn.Pair(student, CenteredAutoencoder(pdn.grid(*size)))
        pair = pair.to(self.device).to(memory_format=torch.channels_last)
        return WeighedMaps(teacher or pdn.teacher(s.size), pair, "replicate", size).to(self.device)

    def _train_autoencoder(self, model: WeighedMaps, images: Tensor, targets: Sequence[Tensor]) -> float:
        """The autoencoder's steps, on images as they are; returns the mean of the last ten losses that were read."""
        from ..efficientad.checkpoints import Loop, adam, descend, generator, set_rate
        from ..efficientad.training import ADVICE, EVERY, image_of_step

        s, autoencoder, dropout = self.settings, model.pair.autoencoder, torch.Generator(self.device)
        optimizer = adam(list(autoencoder.parameters()), s.rate, DECAY)
        loop = Loop("training", {}, optimizer, steps=s.steps, every=EVERY, advice=ADVICE)
        for step, _ in loop:
            index = image_of_step(step, len(images), s.seed)
            x = pdn.inputs(images[index : index + 1])
            generator(s.seed, step, dropout)
            set_rate(optimizer, s.rate * (DROPPED if step >= int(s.drop_at * s.steps) else 1.0))
            with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self._bf16()):
                target = _target(model, targets, index, x)
                loss = (target - autoencoder(x, dropout).float()).square().mean()
            descend(optimizer, loss)
            loop.record(loss)
        last = [loss for _, loss in loop.curve[-10:]]
        return sum(last) / len(last)

    @torch.no_grad()
    def _solve_student(self, model: WeighedMaps, images: Tensor, targets: Sequence[Tensor]) -> None:
        """Solve the student's last convolution for the outputs of teacher and autoencoder on the training images."""
        student, autoencoder = model.eval().pair.student, model.pair.autoencoder
        squares = LeastSquares(student.last, self.settings.ridge)
        for index in range(len(images)):
            x = pdn.inputs(images[index : index + 1])
            squares.add(student.trunk(x), torch.cat([_target(model, targets, index, x), autoencoder(x)], 1))
        squares.solve()


@torch.no_grad()
def _target(model: WeighedMaps, targets: Sequence[Tensor], index: int, x: Tensor) -> Tensor:
    """The teacher's output for an image: of the first ones it is stored."""
    return (targets[index] if index < len(targets) else model.teacher(x)).float()
