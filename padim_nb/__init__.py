"""Visual anomaly detection to learn from, to run and to reproduce: PaDiM and EfficientAD on MVTec AD."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .data.mvtec import load_category
    from .detectors import load
    from .evaluation.report import evaluate
    from .experiments.recipes import recipe

__version__ = "0.3.0"
__all__ = ["evaluate", "load", "load_category", "recipe"]

_HOMES = {
    "load_category": "data.mvtec",
    "recipe": "experiments.recipes",
    "evaluate": "evaluation.report",
    "load": "detectors",
}


def __getattr__(name: str) -> object:
    # Loaded on first use: `padim-nb data status` should not wait for torch.
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module 'padim_nb' has no attribute '{name}'")
