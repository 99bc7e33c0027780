"""What both methods have in common, and reading either back from its file."""

from __future__ import annotations

from pathlib import Path

from .efficientad.detector import EfficientAD
from .errors import OptionError
from .padim.detector import PaDiM
from .util.model_file import holds

Detector = PaDiM | EfficientAD
"""Methods `fit`, `score`, `score_images`, `calibrate`, `held_out_scores`, `save`; facts `seed`, `weights`, `facts`,
`threshold_`, `settings.frame`."""


def load(path: str | Path, weights: str = "", device: str = "auto") -> Detector:
    """Read a saved detector of either method.

    Args:
        path: a file that `save` wrote.
        weights: the file of PaDiM's backbone, if it has moved.
        device: "auto", "cpu", "cuda" or "cuda:1".
    """
    path = Path(path)
    if holds(path, "efficientad"):
        if weights:
            raise OptionError(f"{path} is EfficientAD and holds all its weights: leave out {weights!r}")
        return EfficientAD.load(path, device)
    return PaDiM.load(path, weights, device)
