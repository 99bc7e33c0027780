"""What the project's trainings share: a generator for each step, checkpoints that resume bit for bit, running means."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .errors import ModelError, OptionError
from .modelfile import read_model, write_model


def generator(seed: int, step: int, device: str | torch.device = "cpu") -> torch.Generator:
    """The random numbers of one training step: nothing of them needs to be kept for a resume."""
    return torch.Generator(device).manual_seed((seed * 1_000_003 + step) % (1 << 63))


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


@torch.no_grad()
def follow(mean: nn.Module, network: nn.Module, decay: float) -> None:
    """Move a running mean of a network's weights towards it; counters and statistics are copied."""
    kept, current = zip(*[(a, b) for a, b in zip(mean.parameters(), network.parameters(), strict=True)], strict=True)
    torch._foreach_lerp_(list(kept), list(current), 1 - decay)
    for a, b in zip(mean.buffers(), network.buffers(), strict=True):
        a.copy_(b)


def finite(loss: float, step: int, advice: str) -> float:
    """The loss, or one clear line when the training has broken down."""
    if loss != loss or abs(loss) == float("inf"):
        raise ModelError(f"the loss is {loss} at step {step}: {advice}; the last good checkpoint is kept")
    return loss


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
