"""A trained EfficientAD that comes with the package: float16 weights of what was trained, and what it takes to use it.

Of the teacher only the statistics of its channels are stored, since its weights are shipped already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from ..errors import ModelError
from ..util.devices import pick_device
from ..util.validation import from_plain
from . import pdn
from .cards import card, shipped, write_card
from .detector import EfficientAD
from .model import AnomalyMapModel
from .settings import EfficientADSettings, Training
from .teacher import load_teacher


def save_trained(detector: EfficientAD, path: Path, facts: Mapping[str, object]) -> Path:
    """Write student, autoencoder and the statistics of the teacher's channels, with a card.

    Args:
        detector: fitted with a shipped teacher.
        path: a .safetensors file; the card is the .json beside it.
        facts: what else the card says, such as the data and the metrics there.
    """
    model, settings = detector.model_, detector.settings
    if model is None or settings.weights != "shipped":
        raise ModelError("only a fitted detector with the shipped teacher is saved without its teacher")
    mean, deviation = _statistics(load_teacher(settings.size, settings.weights, settings.padding)[0], model.teacher)
    tensors = {f"pair.{name}": value for name, value in model.pair.state_dict().items()}
    tensors |= {"teacher.mean": mean, "teacher.deviation": deviation}
    rest = {
        "settings": _unusual(settings),
        "teacher": detector.weights,
        "levels": detector.levels_,
        "size": detector.size_,
        "facts": detector.facts,
    }
    return write_card(path, tensors, {**rest, **facts}, detector.device)


def load_trained(name: str, device: str = "auto") -> EfficientAD:
    """A trained detector that is part of the package: it scores; it holds no images' scores to calibrate with."""
    tensors, facts = {key: value.float() for key, value in load_file(shipped(name)).items()}, card(name)
    settings, size = from_plain(EfficientADSettings, facts["settings"]), (int(facts["size"][0]), int(facts["size"][1]))
    teacher, weights = load_teacher(settings.size, settings.weights, settings.padding)
    if weights["sha256"] != facts["teacher"]["sha256"]:
        raise ModelError(f"{name} was trained with another teacher than the one of this installation: train it again")
    deviation, mean = tensors.pop("teacher.deviation"), tensors.pop("teacher.mean")
    last = teacher.last
    last.weight.copy_(last.weight / deviation[:, None, None, None])
    last.bias.copy_((last.bias - mean) / deviation)
    student = pdn.student(settings.size, settings.padding, settings.width)
    pair = pdn.Pair(student, pdn.autoencoder(settings.padding))
    pair.load_state_dict({key.removeprefix("pair."): value for key, value in tensors.items()})
    detector = EfficientAD(settings, pick_device(device), weights)
    model = AnomalyMapModel(teacher, pair, settings.border, size)
    model.set_levels(facts["levels"])
    detector.model_ = model.eval().requires_grad_(False).to(detector.device)
    detector.size_, detector.levels_, detector.facts = size, facts["levels"], dict(facts["facts"])
    return detector


def _unusual(settings: EfficientADSettings | Training) -> dict[str, object]:
    """The settings that are not the usual ones: a card says nothing of those that a later version may not have."""
    usual, values = type(settings)(), {field.name: getattr(settings, field.name) for field in fields(settings)}
    changed = {name: value for name, value in values.items() if value != getattr(usual, name)}
    plain = asdict(settings)
    return {n: _unusual(value) if isinstance(value, Training) else plain[n] for n, value in changed.items()}


def _statistics(teacher: pdn.PatchDescription, standardized: pdn.PatchDescription) -> tuple[Tensor, Tensor]:
    """(mean, deviation) of each channel, (384,), from a last convolution before and after they went into it."""
    before, after = (network.last.weight.detach().cpu().double().flatten(1) for network in (teacher, standardized))
    deviation = (before * after).sum(1) / after.square().sum(1)
    mean = teacher.last.bias.detach().cpu().double() - standardized.last.bias.detach().cpu().double() * deviation
    return mean.float(), deviation.float()
