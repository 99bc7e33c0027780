"""Weights this project made: float16 safetensors with a card beside them that says how, and by which hash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from ..errors import WeightsError
from ..util.files import sha256, whole_file
from ..util.machine import machine

ASSETS = Path(__file__).parents[1] / "assets"


def write_card(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, object], device: str) -> Path:
    """Write the tensors as float16 to `path` and the facts of their making to the .json beside it."""
    with whole_file(path) as scratch:
        save_file({name: value.half().contiguous().cpu() for name, value in tensors.items()}, scratch)
    card = {
        "file": path.name,
        "sha256": sha256(path),
        "megabytes": round(path.stat().st_size / 1e6, 2),
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(device),
        **facts,
    }
    with whole_file(path.with_suffix(".json")) as scratch:
        scratch.write_text(json.dumps(card, indent=1) + "\n")
    return path


def shipped(name: str) -> Path:
    """The weights that come with the package, checked against their card."""
    path = ASSETS / f"{name}.safetensors"
    if not path.is_file():
        raise WeightsError(f"the weights {name} are not part of this installation: install padim-nb again")
    if sha256(path) != card(name)["sha256"]:
        raise WeightsError(f"{path} is damaged (its hash is not its card's): install padim-nb again")
    return path


def card(name: str) -> dict:
    """How shipped weights were made."""
    return json.loads((ASSETS / f"{name}.json").read_text())
