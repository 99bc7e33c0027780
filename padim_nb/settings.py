"""All that decides a detector but the data, as plain values: named, printed, compared and saved without any network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import OptionError, did_you_mean
from .images import Frame

if TYPE_CHECKING:
    from .embedding import Embedding

METHODS = ("random", "all", "orthogonal")
FORMS = ("auto", "shared", "thin", "dense")  # of the Gaussians: three exact ways to the same distances
BORDERS = ("replicate", "zero", "raw-zero")
PRECISIONS = ("float32", "bfloat16", "auto")
# What padim-tensorflow's published rows contain besides the masks of `Frame(mask_resample=...)`, in the order of the
# data's way; see `slips.py`.
SLIPS = (
    "last batch left out",  # of the training pictures, in batches of 32
    "input over root of deviation",  # (x - mean) / sqrt(std), TensorFlow 2.4's EfficientNet
    "coarse maps scrambled",  # a reshape where a transposition is meant
    "smallest distance",  # as an image's score, on the taps' grid, blurred by four cells
)


def _expect(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise OptionError(f"no {what} {value!r}{did_you_mean(value, known)}")


@dataclass(frozen=True)
class Selection:
    """How d dimensions are taken from all channels: 'random' ones, 'all', or a semi-'orthogonal' projection."""

    method: str = "random"
    d: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _expect("selection", self.method, METHODS)
        if self.method != "all" and not (isinstance(self.d, int) and self.d >= 1):
            raise OptionError(f"selection '{self.method}' needs a number of dimensions d of at least 1, not {self.d}")
        if not isinstance(self.seed, int):
            raise OptionError(f"a selection is drawn from a seed that is a whole number, not {self.seed!r}")

    def of(self, channels: Sequence[int]) -> Embedding:
        """The embedding for taps with these numbers of channels."""
        from .embedding import embed  # names and prices of recipes need no torch

        return embed(channels, self.method, self.d, self.seed)


@dataclass(frozen=True)
class PaDiMSettings:
    """Everything that decides a PaDiM detector but the data: a recipe is one of these with a name."""

    backbone: str
    frame: Frame
    selection: Selection
    eps: float = 0.01
    sigma: float = 4.0
    border: str = "reflect"
    upsample: str = "bilinear"
    batch: int = 32
    weights: str = ""
    seed: int = 0
    form: str = "auto"
    slips: tuple[str, ...] = ()  # of published code, for its rows only

    def __post_init__(self) -> None:
        for slip in self.slips:
            _expect("slip", slip, SLIPS)
        _expect("form", self.form, FORMS)
        if not (0 < self.eps < float("inf") and 0 <= self.sigma < 1000 and self.batch >= 1):
            raise OptionError(f"no such eps, sigma or batch: {self.eps}, {self.sigma}, {self.batch}")


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
        _expect("border", self.border, BORDERS)
        _expect("precision", self.precision, PRECISIONS)
        if not 0 < self.held_out < 1:
            raise OptionError(f"held_out is a share between 0 and 1, not {self.held_out}")
