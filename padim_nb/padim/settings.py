"""Everything that decides a PaDiM detector but the data, as plain values; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from pydantic import Field

from ..data.images import Frame
from ..errors import OptionError
from ..util.validation import Seed, validated

if TYPE_CHECKING:
    from ..features.dimensions import Embedding

Method = Literal["random", "all", "orthogonal"]
Form = Literal["auto", "multi-resolution", "low-rank", "dense"]
# What padim-tensorflow's published rows contain besides the masks of `Frame(mask_resample=...)`; see `quirks.py`.
Quirk = Literal[
    "last batch left out",  # of the training images, in batches of 32
    "input over root of deviation",  # (x - mean) / sqrt(std), TensorFlow 2.4's EfficientNet
    "coarse maps scrambled",  # a reshape where a transposition is meant
    "smallest distance",  # as an image's score, on the finest layer's grid, blurred by four cells
    "good wood twice",  # the good test images of wood count twice: their folder stands twice in its list
]
QUIRKS: tuple[Quirk, ...] = get_args(Quirk)


@validated
class Selection:
    """How a patch vector is made of the backbone's channels.

    Args:
        method: "random" for d channels, "all", or "orthogonal" for a projection to d dimensions.
        d: the length of a patch vector; not needed for "all".
        seed: of the draw.
        layers: the numbers of the backbone's layers to use, fine to coarse, from 0; all unless given.
    """

    method: Method = "random"
    d: int | None = None
    seed: Seed = 0
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.method != "all" and (self.d is None or self.d < 1):
            raise OptionError(f"selection '{self.method}' needs a number of dimensions d of at least 1, not {self.d}")

    def embedding(self, channels: Sequence[int]) -> Embedding:
        """The dimensions chosen of a backbone whose layers have these numbers of channels, fine to coarse."""
        from ..features.dimensions import embed  # listing recipes needs no torch

        return embed(channels, self.method, self.d, self.seed, self.layers)


@validated
class PaDiMSettings:
    """Everything that decides a PaDiM detector but the data: a recipe is one of these with a name.

    Args:
        backbone: a name of `features.backbones.SPECS`.
        frame: how images are resized and cropped.
        selection: the dimensions of a patch vector.
        eps: added to the variances; "oas" reads it off the training images (`shrinkage`).
        sigma: of the blur, in pixels of the frame.
        border: how the blur continues the map: scipy's "reflect" or "mirror".
        upsample: from the finest layer's grid to pixels.
        batch: images a batch.
        weights: "imagenet" (also ""), "random" or a file.
        seed: of random weights.
        form: of the Gaussians: three ways to the same distances, or "auto" for the cheapest.
        score: of an image: "max" of its map, or the mean of this share of the map's largest values.
        quirks: of published code, for its rows only.
        roi: a mask's file: image scores, thresholds and metrics look at what is white in it; "" for all of the image.
    """

    backbone: str
    frame: Frame
    selection: Selection
    eps: Annotated[float, Field(gt=0)] | Literal["oas"] = 0.01
    sigma: Annotated[float, Field(ge=0, lt=1000)] = 4.0
    border: Literal["reflect", "mirror"] = "reflect"
    upsample: Literal["bilinear", "bicubic"] = "bilinear"
    batch: Annotated[int, Field(ge=1)] = 32
    weights: str = ""
    seed: Seed = 0
    form: Form = "auto"
    score: Annotated[float, Field(gt=0, lt=1)] | Literal["max"] = "max"
    quirks: tuple[Quirk, ...] = ()
    roi: str = ""
