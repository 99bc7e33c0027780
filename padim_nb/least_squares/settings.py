"""Everything that decides a least-squares student but the data, as plain values; needs no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..data.images import Frame
from ..efficientad.settings import Share, Size
from ..errors import OptionError
from ..util.validation import Seed, validated


@validated
class LeastSquaresSettings:
    """Everything that decides a least-squares student but the data.

    Args:
        size: of the networks.
        weights: of the teacher, as EfficientAD's: "shipped", a published one, or a file.
        width: share of EfficientAD's channels in the student's random layers.
        frame: how images are resized and cropped, to at least 256 pixels a side.
        images: number of training images that are learned from, at most.
        calibration_images: number of further training images, at most, over which both maps are weighed.
        steps: of the autoencoder's training, one image each.
        rate: learning rate of Adam.
        drop_at: share of the steps after which the rate falls to a tenth.
        ridge: of the least squares.
        held_out: share of the training images that are kept for the quantiles and the threshold.
        quantiles: q_a and q_b of the held-out images' maps, which become 0 and 0.1.
        precision: of the autoencoder's training; "auto" is bfloat16 where the device has fast instructions for it.
        seed: of the weights, the split and the steps.
    """

    size: Size = "small"
    weights: Annotated[str, Field(min_length=1)] = "shipped"
    width: Annotated[float, Field(gt=0, le=1)] = 0.5
    frame: Frame = Frame((256, 256))
    images: Annotated[int, Field(ge=1)] = 48
    calibration_images: Annotated[int, Field(ge=0)] = 32
    steps: Annotated[int, Field(ge=1)] = 160
    rate: Annotated[float, Field(gt=0)] = 2e-3
    drop_at: Annotated[float, Field(ge=0, le=1)] = 0.7
    ridge: Annotated[float, Field(gt=0)] = 1e-3
    held_out: Share = 0.1
    quantiles: tuple[Share, Share] = (0.9, 0.995)
    precision: Literal["float32", "bfloat16", "auto"] = "auto"
    seed: Seed = 42

    def __post_init__(self) -> None:
        if self.quantiles[0] >= self.quantiles[1]:
            raise OptionError(f"LeastSquaresSettings: quantiles must rise, not {self.quantiles}")
