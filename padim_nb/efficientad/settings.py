"""Everything that decides an EfficientAD detector but the data, as plain values; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..data.images import Frame
from ..errors import OptionError, expect_one_of

BORDERS = ("replicate", "zero", "raw-zero")
PRECISIONS = ("float32", "bfloat16", "auto")


@dataclass(frozen=True)
class Training:
    """What decides a run of EfficientAD's training steps besides the pictures."""

    steps: int = 70_000
    rate: float = 1e-4
    decay: float = 1e-5
    drop_at: float = 0.95  # of the steps: the rate falls to a tenth
    hard: float = 0.999
    grey: float = 0.3  # of the penalty pictures
    seed: int = 42
    bf16: bool = False


@dataclass(frozen=True)
class EfficientADSettings:
    """Everything that decides an EfficientAD detector but the data.

    `border` fills the 4 rows and columns of patches that a map lacks on each side: "replicate" repeats the outermost
    ones, "zero" puts zeros into the finished map (the first public implementation), "raw-zero" into the two maps
    before they are normalised (anomalib). `penalty` is "bank", "none" or a folder. `precision` "auto" is bfloat16
    where that is quick, for training only.
    """

    size: str = "small"
    weights: str = ""
    frame: Frame = Frame((256, 256))
    training: Training = Training()
    penalty: str = "bank"
    penalties: int = 1024
    held_out: float = 0.1
    quantiles: tuple[float, float] = (0.9, 0.995)
    border: str = "replicate"
    padding: bool = False
    precision: str = "float32"

    def __post_init__(self) -> None:
        expect_one_of("border", self.border, BORDERS)
        expect_one_of("precision", self.precision, PRECISIONS)
        if not 0 < self.held_out < 1:
            raise OptionError(f"held_out is a share between 0 and 1, not {self.held_out}")
