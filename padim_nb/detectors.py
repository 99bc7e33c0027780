"""What both methods have in common, and reading either back from its file."""

from __future__ import annotations

from pathlib import Path

from .efficientad import EfficientAD
from .modelfile import kind_of
from .padim import PaDiM

Detector = PaDiM | EfficientAD
"""Methods `fit`, `score`, `score_pictures`, `calibrate`, `held_out_scores`, `save`; facts `seed`, `weights`, `facts`,
`threshold_`, `settings.frame`."""


def load(path: str | Path, weights: str = "", device: str = "auto") -> Detector:
    """A saved detector of either method; `weights` names a PaDiM backbone's file where it is not in its usual place."""
    path = Path(path)
    if kind_of(path) == "efficientad":
        return EfficientAD.load(path, device)
    return PaDiM.load(path, weights, device)
