"""What both trainings share: numbered steps with their own random numbers, and checkpoints that they resume from."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from ..errors import ModelError, OptionError, did_you_mean
from ..util.model_file import read_model, write_model

S = TypeVar("S")


def generator(seed: int, step: int, device: str | torch.device = "cpu") -> torch.Generator:
    """The random numbers of one training step: they follow from its number, so a checkpoint need not hold any."""
    return torch.Generator(device).manual_seed((seed * 1_000_003 + step) % (1 << 63))


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


@dataclass
class Checkpoints:
    """The state of a training in one file, written whole or not at all, every `minutes`.

    Args:
        path: of the file; the last good one stays when a new one cannot be written.
        settings: plain values that decide the training: a file with other ones is refused, not resumed.
        minutes: between two checkpoints.
        modules: networks by name, whose state is saved.
        optimizer: whose state is saved.
    """

    path: Path
    settings: Mapping[str, object]
    minutes: float
    modules: Mapping[str, nn.Module]
    optimizer: Optimizer
    _last: float = field(default_factory=time.monotonic)

    def resume(self) -> dict[str, Any]:
        """Load the last checkpoint, if there is one, and return its header; {} otherwise."""
        if not self.path.is_file():
            return {}
        header, tensors = read_model(self.path, "training")
        if header["settings"] != dict(self.settings):
            names = [key for key, value in self.settings.items() if header["settings"].get(key) != value]
            raise OptionError(
                f"{self.path} is of a training with other settings ({', '.join(names) or 'more of them'}): "
                "choose another folder, or remove it to start over"
            )
        for name, module in self.modules.items():
            module.load_state_dict(_under(name, tensors))
        _restore(self.optimizer, _under("optimizer", tensors))
        return header

    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() - self._last >= 60 * self.minutes

    def write(self, **header: object) -> None:
        """Write the state now, with plain values such as the number of steps done."""
        tensors: dict[str, Tensor] = {}
        for name, module in self.modules.items():
            tensors |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{key}": value for key, value in state.items() if torch.is_tensor(value)}
        write_model(self.path, "training", {"settings": dict(self.settings), **header}, tensors)
        self._last = time.monotonic()


def expect_one_length(minutes: float, steps: int) -> None:
    """Refuse a training that has no length, or two."""
    if (minutes > 0) == (steps > 0) or minutes < 0 or steps < 0:
        raise OptionError(f"give either minutes or steps, one of them more than 0, not {minutes} and {steps}")


class Loop:
    """The numbered steps of a training, for so many minutes or exactly so many steps, with progress and checkpoints.

    `for step, done in loop:` goes on from the checkpoint, with the share `done` of the training, 0 to 1; call
    `record(loss)` in each step.

    Args:
        title: of the progress bar.
        minutes: length of the training, or 0.
        steps: length of the training, or 0; one of both is more than 0.
        state: where its checkpoints go; None for none.
        every: number of steps between two readings of the loss, as each waits for the device.
        advice: what to do when the loss is not finite.
    """

    LONGEST = 10.0  # seconds that a step may count for: a machine that slept has not trained

    def __init__(
        self,
        title: str,
        minutes: float = 0,
        steps: int = 0,
        state: Checkpoints | None = None,
        every: int = 20,
        advice: str = "try a lower rate",
    ) -> None:
        expect_one_length(minutes, steps)
        self.title, self.minutes, self.steps, self.state = title, minutes, steps, state
        self.every, self.advice = every, advice
        self._loss: Tensor | None = None
        header = state.resume() if state else {}
        self.step: int = header.get("step", 0)
        self.seconds: float = header.get("seconds", 0.0)
        self.curve: list[list[float]] = header.get("curve", [])

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
                self.seconds += min(time.perf_counter() - start, self.LONGEST)
                bar.update(self._position() - bar.n)
                if self.state is not None and (self.state.due() or self.done >= 1):
                    self._finite_loss()
                    self.state.write(step=self.step, seconds=self.seconds, curve=self.curve)

    def record(self, loss: Tensor) -> None:
        """Hand over the step's loss, ()."""
        self._loss = loss.detach()

    def _position(self) -> int:
        return round(self.seconds) if self.minutes else self.step

    def _finite_loss(self) -> float:
        loss = float("nan") if self._loss is None else self._loss.item()
        if not math.isfinite(loss):
            raise ModelError(f"the loss is {loss} at step {self.step}: {self.advice}; the last good checkpoint is kept")
        return loss


def _under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{name}.")}


def _restore(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
