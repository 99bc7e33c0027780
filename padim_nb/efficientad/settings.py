"""Everything that decides an EfficientAD detector but the data, as plain values; needs no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..data.images import Frame
from ..errors import OptionError
from ..util.validation import Seed, validated

PROCEDURAL, NONE, IMAGENETTE = "procedural", "none", "imagenette"
Size = Literal["small", "medium"]
Share = Annotated[float, Field(gt=0, lt=1)]


@validated
class Training:
    """What decides the training steps besides the images.

    Args:
        steps: number of steps, one training image each.
        rate: learning rate of Adam.
        decay: weight decay of Adam.
        drop_at: share of the steps after which the rate falls to a tenth.
        hard: quantile of the squared distances at and above which they enter the loss.
        gray: share of the penalty images that are made gray.
        augment: where the autoencoder's image is jittered: "resized", as tensors are after the resize (anomalib), or
            "original", as Pillow does it at the image's own size before the resize, with Pillow's gray for the penalty
            images (nelson1425).
        seed: of the weights, the split, and all that is random in a step.
        bf16: compute in bfloat16.
    """

    steps: Annotated[int, Field(ge=1)] = 70_000
    rate: Annotated[float, Field(gt=0)] = 1e-4
    decay: Annotated[float, Field(ge=0)] = 1e-5
    drop_at: Annotated[float, Field(ge=0, le=1)] = 0.95
    hard: Share = 0.999
    gray: Annotated[float, Field(ge=0, le=1)] = 0.3
    augment: Literal["resized", "original"] = "resized"
    seed: Seed = 42
    bf16: bool = False


@validated
class EfficientADSettings:
    """Everything that decides an EfficientAD detector but the data.

    Args:
        size: of the patch description networks.
        weights: of the teacher: "shipped", a published one ("anomalib" or "nelson1425"), a file, or "" for the one that
            `padim-nb distill` wrote to the cache.
        width: share of the paper's channels in the student's layers before the last, 1 in the paper.
        frame: how images are resized and cropped, to at least 256 pixels a side.
        training: the steps.
        penalty: a folder of images, "procedural", "imagenette", "none", or "" where a folder must be given.
        penalties: number of penalty images that are kept in memory.
        held_out: share of the training images that are not learned from, for the quantiles and the threshold.
        split: how these are drawn: "permutation", NumPy's, or "random_split", torch's (nelson1425).
        quantiles: q_a and q_b of the held-out images' maps, which become 0 and 0.1.
        border: what fills the 4 rows and columns of patches that a map lacks on each side. "replicate" repeats the
            outermost patches, "zero" writes zeros into the normalized map (nelson1425), "raw-zero" into the two maps
            before they are normalized (anomalib).
        padding: pad the convolutions instead; maps then have no border to fill.
        maps: their size: that of the "frame", or that of the training images' files, "original", at which they are then
            scored and judged too (nelson1425); all files must then have one size.
        precision: of the training; "auto" is bfloat16 where the device has fast instructions for it.
    """

    size: Size = "small"
    weights: str = ""
    width: Annotated[float, Field(gt=0, le=1)] = 1.0
    frame: Frame = Frame((256, 256))
    training: Training = Training()
    penalty: str = PROCEDURAL
    penalties: Annotated[int, Field(ge=1)] = 1024
    held_out: Share = 0.1
    split: Literal["permutation", "random_split"] = "permutation"
    quantiles: tuple[Share, Share] = (0.9, 0.995)
    border: Literal["replicate", "zero", "raw-zero"] = "replicate"
    padding: bool = False
    maps: Literal["frame", "original"] = "frame"
    precision: Literal["float32", "bfloat16", "auto"] = "float32"

    def __post_init__(self) -> None:
        if self.quantiles[0] >= self.quantiles[1]:
            raise OptionError(f"EfficientADSettings: quantiles must rise, not {self.quantiles}")
        if self.maps == "original" and self.frame.crop is not None:
            raise OptionError("EfficientADSettings: maps of the original size need a frame without a crop")
