"""Everything that decides a PaDiM detector but the data, as plain values; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..data.images import Frame
from ..errors import OptionError, expect_one_of

if TYPE_CHECKING:
    from ..features.dimensions import Embedding

METHODS = ("random", "all", "orthogonal")
FORMS = ("auto", "shared", "thin", "dense")  # of the Gaussians: three exact ways to the same distances
# What padim-tensorflow's published rows contain besides the masks of `Frame(mask_resample=...)`, in the order of the
# data's way; see `quirks.py`.
QUIRKS = (
    "last batch left out",  # of the training pictures, in batches of 32
    "input over root of deviation",  # (x - mean) / sqrt(std), TensorFlow 2.4's EfficientNet
    "coarse maps scrambled",  # a reshape where a transposition is meant
    "smallest distance",  # as an image's score, on the taps' grid, blurred by four cells
)


@dataclass(frozen=True)
class Selection:
    """How d dimensions are taken from all channels: 'random' ones, 'all', or a semi-'orthogonal' projection."""

    method: str = "random"
    d: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        expect_one_of("selection", self.method, METHODS)
        if self.method != "all" and not (isinstance(self.d, int) and self.d >= 1):
            raise OptionError(f"selection '{self.method}' needs a number of dimensions d of at least 1, not {self.d}")
        if not isinstance(self.seed, int):
            raise OptionError(f"a selection is drawn from a seed that is a whole number, not {self.seed!r}")

    def of(self, channels: Sequence[int]) -> Embedding:
        """The embedding for taps with these numbers of channels."""
        from ..features.dimensions import embed  # names and prices of recipes need no torch

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
    quirks: tuple[str, ...] = ()  # of published code, for its rows only

    def __post_init__(self) -> None:
        for quirk in self.quirks:
            expect_one_of("quirk", quirk, QUIRKS)
        expect_one_of("form", self.form, FORMS)
        if not (0 < self.eps < float("inf") and 0 <= self.sigma < 1000 and self.batch >= 1):
            raise OptionError(f"no such eps, sigma or batch: {self.eps}, {self.sigma}, {self.batch}")
