"""What the project's trainings share: numbered steps with their own random numbers, and checkpoints that resume."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from ..errors import ModelError, OptionError, did_you_mean
from ..util.model_file import read_model, write_model

S = TypeVar("S")
_READ = {"int": int, "float": float, "str": str, "bool": {"true": True, "false": False}.__getitem__}


def generator(seed: int, step: int, device: str | torch.device = "cpu") -> torch.Generator:
    """The random numbers of one training step: nothing of them needs to be kept for a resume."""
    return torch.Generator(device).manual_seed((seed * 1_000_003 + step) % (1 << 63))


def changed(settings: S, pairs: Sequence[str]) -> S:
    """Settings with some replaced, given as words: "rate=0.05"."""
    known = {each.name: each.type for each in fields(settings)}
    told = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign:
            raise OptionError(f"a setting is given as NAME=VALUE, not {pair!r}")
        if name not in known:
            raise OptionError(f"no setting {name!r}{did_you_mean(name, known)}")
        try:
            told[name] = _READ[known[name]](text)
        except (KeyError, ValueError):
            raise OptionError(f"setting '{name}' is of type {known[name]}, not {text!r}") from None
    return replace(settings, **told)


@dataclass
class Checkpoints:
    """The state of a training on disk, whole or not at all, every `minutes`.

    `settings` decide the training: a file of other settings is refused, not resumed. The last good file stays when a
    new one cannot be written.
    """

    path: Path
    settings: Mapping[str, object]
    minutes: float = 2.0
    modules: Mapping[str, nn.Module] = field(default_factory=dict)
    optimiser: Optimizer | None = None
    _last: float = field(default_factory=time.monotonic)

    def resume(self) -> dict:
        """Load the state that stands, if any, and return its header: {} when there is nothing to resume."""
        if not self.path.is_file():
            return {}
        header, tensors = read_model(self.path, "training")
        if header["settings"] != dict(self.settings):
            changed = [key for key, value in self.settings.items() if header["settings"].get(key) != value]
            raise OptionError(
                f"{self.path} is of a training with other settings ({', '.join(changed) or 'more of them'}): "
                "choose another folder, or remove it to start over"
            )
        for name, module in self.modules.items():
            module.load_state_dict(_under(name, tensors))
        if self.optimiser is not None:
            _restore(self.optimiser, _under("optimiser", tensors))
        return header

    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() - self._last >= 60 * self.minutes

    def write(self, **header: object) -> None:
        """Write the state now, with plain values such as the number of steps done."""
        tensors = {
            f"{name}.{key}": v for name, module in self.modules.items() for key, v in module.state_dict().items()
        }
        if self.optimiser is not None:
            tensors |= {f"optimiser.{key}": value for key, value in _kept(self.optimiser).items()}
        write_model(self.path, "training", {"settings": dict(self.settings), **header}, tensors)
        self._last = time.monotonic()


class Loop:
    """The steps of a training, for so many `minutes` or exactly so many `steps`: numbered, timed, shown and kept.

    `for step, done in loop:` goes on where the checkpoint stands; call `look(loss)` in each step. `header` holds what
    is kept beside the weights: step, seconds, the loss curve, and counters of the caller's.
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
        **counters: object,
    ) -> None:
        if (minutes > 0) == (steps > 0):
            raise OptionError("give either minutes or steps, one of them more than 0")
        self.title, self.minutes, self.steps, self.state = title, minutes, steps, state
        self.every, self.advice = every, advice
        self.header = {"step": 0, "seconds": 0.0, "curve": [], **counters}
        self._loss: Tensor | None = None
        if state is not None:
            self.header |= state.resume()

    @property
    def done(self) -> float:
        """The share of the training that lies behind, 0 to 1."""
        return self.header["seconds"] / (60 * self.minutes) if self.minutes else self.header["step"] / self.steps

    def __iter__(self) -> Iterator[tuple[int, float]]:
        total, unit = (round(60 * self.minutes), "s") if self.minutes else (self.steps, "step")
        with tqdm(total=total, initial=self._shown(), unit=unit, desc=self.title, disable=None, leave=False) as bar:
            while self.done < 1:
                start = time.perf_counter()
                yield self.header["step"], self.done
                self.header["step"] += 1
                if self.header["step"] % self.every == 0 or self.done >= 1:
                    bar.set_postfix_str(f"loss {self._checked():.4f}", refresh=False)
                    self.header["curve"].append([self.header["step"], round(self._checked(), 5)])
                self.header["seconds"] += min(time.perf_counter() - start, self.LONGEST)
                bar.update(self._shown() - bar.n)
                if self.state is not None and (self.state.due() or self.done >= 1):
                    self._checked()
                    self.state.write(**self.header)

    def look(self, loss: Tensor) -> None:
        """Hand over the step's loss; it is read only now and then, as each reading waits for the device."""
        self._loss = loss.detach()

    def curve(self, points: int = 100) -> list:
        """About so many points [step, loss] of the loss curve."""
        whole = self.header["curve"]
        return whole[:: max(1, len(whole) // points)]

    def _shown(self) -> int:
        return round(self.header["seconds"]) if self.minutes else self.header["step"]

    def _checked(self) -> float:
        loss = float("nan") if self._loss is None else self._loss.item()
        if not math.isfinite(loss):
            step = self.header["step"]
            raise ModelError(f"the loss is {loss} at step {step}: {self.advice}; the last good checkpoint is kept")
        return loss


@torch.no_grad()
def follow(mean: nn.Module, network: nn.Module, decay: float) -> None:
    """Move a running mean of a network's weights towards it; counters and statistics are copied."""
    kept, current = zip(*[(a, b) for a, b in zip(mean.parameters(), network.parameters(), strict=True)], strict=True)
    torch._foreach_lerp_(list(kept), list(current), 1 - decay)
    for a, b in zip(mean.buffers(), network.buffers(), strict=True):
        a.copy_(b)


@torch.no_grad()
def settle(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Take a network's batch statistics anew, in float32, over whole batches of its input."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    network.train()
    for batch in batches:
        network(batch)
    network.eval()


def _under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{name}.")}


def _kept(optimiser: Optimizer) -> dict[str, Tensor]:
    state = optimiser.state_dict()["state"]
    return {f"{i}.{key}": value for i, each in state.items() for key, value in each.items() if torch.is_tensor(value)}


def _restore(optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    whole = optimiser.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        i, _, name = key.partition(".")
        state.setdefault(int(i), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
