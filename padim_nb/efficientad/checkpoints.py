"""What both trainings share: numbered steps with their own random numbers, and checkpoints that they resume from."""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from tqdm import tqdm

from ..errors import ModelError, OptionError, did_you_mean
from ..util.model_file import making_sense_of, read_model, write_model

S = TypeVar("S")
LONGEST = 10.0  # seconds that a step may count for: a machine that slept has not trained


def generator(seed: int, step: int, rng: torch.Generator | None = None) -> torch.Generator:
    """The random numbers of one training step: they follow from its number, so a checkpoint need not hold any.

    With `rng` it is this one that gives them, as a CUDA graph knows the generator it was recorded with.
    """
    return (rng or torch.Generator()).manual_seed((seed * 1_000_003 + step) % (1 << 63))


def changed(settings: S, pairs: Sequence[str]) -> S:
    """Validated settings with some of them replaced, given as text: "rate=0.05"."""
    values = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign:
            raise OptionError(f"a setting is given as NAME=VALUE, not {pair!r}")
        if name not in vars(settings):
            raise OptionError(f"no setting {name!r}{did_you_mean(name, vars(settings))}")
        values[name] = text
    return replace(settings, **values)  # type: ignore[type-var]  # any of our validated dataclasses


def adam(weights: Sequence[Tensor], rate: float, decay: float) -> Adam:
    """Adam over weights, on a GPU with its rate there: a CUDA graph reads it at each replay."""
    gpu = weights[0].is_cuda
    lr = torch.tensor(rate, device=weights[0].device) if gpu else rate
    return Adam(weights, lr, weight_decay=decay, foreach=not gpu, fused=gpu, capturable=gpu)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """The learning rate of the next steps; where it is a tensor, it stays that one."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def descend(optimizer: Optimizer, loss: Tensor) -> None:
    """One step of the optimizer down the slope of a loss ()."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def expect_one_length(minutes: float, steps: int) -> None:
    """Refuse a training that has no length, or two."""
    if (minutes > 0) == (steps > 0) or minutes < 0 or steps < 0:
        raise OptionError(f"give either minutes or steps, one of them more than 0, not {minutes} and {steps}")


class Loop:
    """The numbered steps of a training, for so many minutes or exactly so many steps, with progress and checkpoints.

    `for step, done in loop:` gives the number of each step and the share `done` of the training, 0 to 1; call
    `record(loss)` in each.

    Args:
        title: of the progress bar.
        modules: networks by name, whose state a checkpoint holds.
        optimizer: likewise.
        minutes: length of the training, or 0.
        steps: length of the training, or 0; one of both is more than 0.
        every: number of steps between two readings of the loss, as each waits for the device.
        advice: what to do when the loss is not finite.

    Attributes:
        step: number of steps done.
        seconds: what they took, those before a stop included.
        curve: pairs of a number of steps and the loss there.
    """

    def __init__(
        self,
        title: str,
        modules: Mapping[str, nn.Module],
        optimizer: Optimizer,
        minutes: float = 0,
        steps: int = 0,
        every: int = 20,
        advice: str = "try a lower rate",
    ) -> None:
        expect_one_length(minutes, steps)
        self.title, self.modules, self.optimizer, self.minutes, self.steps = title, modules, optimizer, minutes, steps
        self.every, self.advice = every, advice
        self.step, self.seconds = 0, 0.0
        self.curve: list[list[float]] = []
        self._path: Path | None = None
        self._loss = torch.tensor(math.nan)

    def resume(self, path: Path, settings: Mapping[str, object], minutes: float) -> None:
        """Go on from a checkpoint where there is one, and write it anew from now on, whole or not at all.

        Args:
            path: of its file; the last good one stays when a new one cannot be written.
            settings: all that decides the training, as plain values: its settings, and a hash of the contents of each
                input. A file with other ones is refused.
            minutes: between two checkpoints.
        """
        self._path, self._pause, self._written = path, 60 * minutes, time.monotonic()
        self._settings = json.loads(json.dumps(settings))  # as they will be read back
        if not path.is_file():
            return
        header, tensors = read_model(path, "training")
        with making_sense_of(path):
            former = dict(header["settings"])
        names = [key for key in self._settings | former if former.get(key, ()) != self._settings.get(key, ())]
        if names:
            raise OptionError(
                f"{path} is of a training with other settings or images ({', '.join(names)}): "
                "choose another folder, or remove it to start over"
            )
        with making_sense_of(path):
            self._restore(header, tensors)

    def _restore(self, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Set networks, optimizer, step and curve to what a checkpoint holds."""
        self.step, self.seconds, self.curve = header["step"], header["seconds"], header["curve"]
        states: dict[str, dict[str, Tensor]] = defaultdict(dict)
        moments: dict[int, dict[str, Tensor]] = defaultdict(dict)
        for key, value in tensors.items():
            name, _, rest = key.partition(".")
            states[name][rest] = value
        for key, value in states.pop("optimizer", {}).items():
            number, _, name = key.partition(".")
            moments[int(number)][name] = value
        for name, module in self.modules.items():
            module.load_state_dict(states[name])
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})

    @property
    def done(self) -> float:
        """The share of the training that lies behind, 0 to 1."""
        return self.seconds / (60 * self.minutes) if self.minutes else self.step / self.steps

    def __iter__(self) -> Iterator[tuple[int, float]]:
        total, unit = (round(60 * self.minutes), "s") if self.minutes else (self.steps, "step")
        with tqdm(total=total, initial=self._position(), unit=unit, desc=self.title, disable=None, leave=False) as bar:
            while self.done < 1:
                start = time.perf_counter()
                yield self.step, self.done
                self.step += 1
                if self.step % self.every == 0 or self.done >= 1:
                    loss = self._finite_loss()
                    bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
                    self.curve.append([self.step, round(loss, 5)])
                self.seconds += min(time.perf_counter() - start, LONGEST)
                bar.update(self._position() - bar.n)
                if self._path and (time.monotonic() - self._written >= self._pause or self.done >= 1):
                    self._finite_loss()
                    self._write(self._path)

    def record(self, loss: Tensor) -> None:
        """Hand over the step's loss, ()."""
        self._loss = loss.detach()

    def _write(self, path: Path) -> None:
        states = {name: module.state_dict() for name, module in self.modules.items()}
        states |= {f"optimizer.{number}": state for number, state in self.optimizer.state_dict()["state"].items()}
        tensors = {f"{name}.{key}": value for name, state in states.items() for key, value in state.items()}
        header = {"settings": self._settings, "step": self.step, "seconds": self.seconds, "curve": self.curve}
        write_model(path, "training", header, tensors)
        self._written = time.monotonic()

    def _position(self) -> int:
        return round(self.seconds) if self.minutes else self.step

    def _finite_loss(self) -> float:
        loss = self._loss.item()
        if not math.isfinite(loss):
            raise ModelError(f"the loss is {loss} at step {self.step}: {self.advice}; the last good checkpoint is kept")
        return loss
