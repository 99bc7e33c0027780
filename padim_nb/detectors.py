"""What all detectors have in common, and reading one back from its file."""

from __future__ import annotations

from pathlib import Path

from .efficientad.detector import EfficientAD
from .errors import OptionError
from .least_squares.detector import LeastSquaresStudent
from .padim.detector import PaDiM
from .util.model_file import holds

Detector = PaDiM | EfficientAD  # and what is made of it, `LeastSquaresStudent`
"""Methods `fit`, `score`, `score_images`, `calibrate`, `held_out_scores`, `save`; facts `seed`, `weights`, `facts`,
`threshold_`, `settings.frame`."""


def load(path: str | Path, weights: str = "", device: str = "auto") -> Detector:
    """Read a saved detector.

    Args:
        path: a file that `save` wrote.
        weights: the file of PaDiM's backbone, if it has moved.
        device: "auto", "cpu", "cuda" or "cuda:1".
    """
    path = Path(path)
    for kind in (EfficientAD, LeastSquaresStudent):
        if holds(path, kind.KIND):
            if weights:
                raise OptionError(f"{path} holds all its weights: leave out {weights!r}")
            return kind.load(path, device)
    return PaDiM.load(path, weights, device)
