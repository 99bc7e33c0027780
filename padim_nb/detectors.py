"""What both methods have in common, and reading either back from its file."""

from __future__ import annotations

from pathlib import Path

from .efficientad.detector import EfficientAD
from .padim.detector import PaDiM
from .util.model_file import kind_of

Detector = PaDiM | EfficientAD
"""Methods `fit`, `score`, `score_images`, `calibrate`, `held_out_scores`, `save`; facts `seed`, `weights`, `facts`,
`threshold_`, `settings.frame`."""


def load(path: str | Path, weights: str = "", device: str = "auto") -> Detector:
    """A saved detector of either method; `weights` names a PaDiM backbone's file where it is not in its usual place."""
    path = Path(path)
    if kind_of(path) == "efficientad":
        return EfficientAD.load(path, device)
    return PaDiM.load(path, weights, device)
