"""Visual anomaly detection to learn from, to run and to reproduce: PaDiM and EfficientAD on MVTec AD."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .mvtec import load_category
    from .recipes import recipe
    from .report import evaluate

__version__ = "0.1.0"
__all__ = ["evaluate", "load_category", "recipe"]

_ROOMS = {"load_category": "mvtec", "recipe": "recipes", "evaluate": "report"}


def __getattr__(name: str) -> object:
    # Loaded on first use: `padim-nb data status` should not wait for torch.
    if name in _ROOMS:
        return getattr(import_module(f".{_ROOMS[name]}", __name__), name)
    raise AttributeError(f"module 'padim_nb' has no attribute '{name}'")
