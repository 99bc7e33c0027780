"""Named, frozen recipes: each says all that decides a detector, and what it reproduces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..data.images import Frame
from ..efficientad.settings import EfficientADSettings, Training
from ..errors import OptionError, expect_one_of
from ..least_squares.settings import LeastSquaresSettings
from ..padim.settings import QUIRKS, PaDiMSettings, Selection
from .costs import TEST, TRAIN, costs

if TYPE_CHECKING:
    from ..detectors import Detector

DEFAULT = "padim-lite0"
LARGEST = 1024  # pixels a side
LEAST, STRIDE = 64, 16  # for PaDiM: the grids of all layers nest where sides are multiples of the coarsest stride
LEAST_EFFICIENTAD = 256  # the autoencoder needs them


Settings: TypeAlias = PaDiMSettings | EfficientADSettings | LeastSquaresSettings


@dataclass(frozen=True)
class Recipe:
    """A named detector: its settings, the published row (source, name) it follows, and the files it needs.

    `deviations` say where it differs from that row's program, or from the paper's method.
    """

    name: str
    settings: Settings
    source: str
    row: str
    needs: str
    deviations: tuple[str, ...] = ()

    @property
    def reproduces(self) -> str:
        """In words: the published row, or what it is instead."""
        return f"{self.source}, {self.row}" if self.source else self.row


def _published(text: str) -> tuple[str, str]:
    """("source", "row"), or ("", what it is) where nothing of the kind was published."""
    if text.startswith("nothing published"):
        return "", text
    source, _, row = text.partition(", ")
    return source, row


def _padim(
    name: str,
    backbone: str,
    frame: Frame,
    selection: Selection,
    published: str,
    deviations: tuple[str, ...] = (),
    **more: Any,
) -> Recipe:
    network = backbone.rpartition("-")[0] or backbone  # of an EfficientNet without the name of its layers
    free = backbone in ("gabor", "efficientnet-lite0") or "weights" in more
    needs = "nothing" if free else f"ImageNet weights of {network}"
    return Recipe(name, PaDiMSettings(backbone, frame, selection, **more), *_published(published), needs, deviations)


def _efficientad(name: str, published: str, needs: str, deviations: tuple[str, ...], **more: Any) -> Recipe:
    return Recipe(name, EfficientADSettings(**more), *_published(published), needs, deviations)


_CROP, _SQUARE = Frame(256, 224, "lanczos"), Frame((256, 256))
_ALIASED = Frame((256, 256), resample="bilinear-aliased")
_TF = replace(_ALIASED, crop=224)
_TF_MASKS = replace(_TF, mask_resample="bilinear-floor")
_ALL = Selection("all")
_TEACHER = "a teacher distilled from WideResNet-101 (`padim-nb distill`)"
_SOUND = "nothing published: the paper's method without ImageNet"
_IMAGES: dict[str, Any] = {"penalty": "imagenette", "penalties": 10_000}
_TEN_CLASSES = "penalty images: 10,000 of Imagenette, ten classes of ImageNet"
_BORDER = "the outermost patches of a map are repeated at its border, where published programs write zeros"
_PROCEDURAL = "penalty images: {} procedural ones, not ImageNet's"
_DRAWS = "weights, order of images and jitter are other draws, as the random numbers come from each step's number"
_FROM_THE_PAPER = (
    _PROCEDURAL.format("1,024"),
    "the teacher is distilled on what `padim-nb distill` is given, procedural images by default, not on ImageNet",
    _BORDER,
)
_FROM_NELSON1425 = (f"{_TEN_CLASSES}, not all of ImageNet's training images (`--penalty FOLDER`)", _DRAWS)
_FROM_ANOMALIB = (
    "quantiles from 10 % of the training images that are held out; there from good test images",
    "learned from the other 90 % of the training images; there from all",
    f"{_TEN_CLASSES}; there all of its 13,394",
    "images are resized by Pillow to 8 bits, there by torchvision as floats",
    _DRAWS,
    "the published row is of June 2023; the teacher's file has been replaced since",
)
_FROM_TENSORFLOW = (
    "the random dimensions are another draw: there TensorFlow's shuffle, here Python's",
    "the network's weights are those of efficientnet_pytorch, not Keras's file",
)
# fmt: off
_ROWS = (
    _padim("padim-lite0", "efficientnet-lite0", _SQUARE,
           Selection("all", layers=(1, 2)),  # strides 8 and 16: chosen in data/records/lite0-layers.json
           "nothing published: ImageNet features that come with the installation", eps="oas",
           score=0.01),  # chosen in data/records/image-score.json and image-score-mvtec.json
    _padim("padim-gabor", "gabor", _SQUARE, _ALL, "nothing published: a baseline by formula"),
    _padim("padim-random", "resnet18", _SQUARE, Selection("random", 100, 1024),
           "nothing published: a network that has learned nothing", weights="random"),
    _padim("padim-r18-rd100", "resnet18", _CROP, Selection("random", 100, 1024),
           "padim-efficientnet-pytorch, R18-Rd100"),
    _padim("padim-wr50-rd550", "wide_resnet50_2", _CROP, Selection("random", 550, 1024),
           "padim-efficientnet-pytorch, WR50-Rd550"),
    *(_padim(f"padim-eff{layers}", f"efficientnet-{layers}", _CROP, _ALL, f"padim-efficientnet-pytorch, {row}")
      for layers, row in (("b7-fst", "Effi-B7-Fst-Block"), ("b7-md", "Effi-B7-Md-Block"),
                          ("b7-lst", "Effi-B7-Lst-Block"), ("b4-fst", "Effi-B4"),
                          ("b4-md", "Effi-B4, middle blocks"), ("b4-lst", "Effi-B4, last blocks"))),
    _padim("padim-effb5-paper", "efficientnet-b5-paper", Frame(256, 224, "bicubic"), _ALL,
           "nothing published for each category: the paper's EfficientNet-B5", upsample="bicubic"),
    *(_padim(f"padim-tf-net{n}{ending}", f"efficientnet-b7-net{n}", frame, Selection("random", 1000, 10),
             f"padim-tensorflow, Net {n}", deviations, quirks=quirks)
      for n in (1, 2, 3) for ending, frame, quirks, deviations in (
          ("", _TF_MASKS, QUIRKS, _FROM_TENSORFLOW),
          ("-fixed", _TF, (), (*_FROM_TENSORFLOW, "without the source's quirks: " + "; ".join(QUIRKS),
                               "masks are resized to the nearest pixel; there bilinearly and rounded down")))),
    _padim("padim-r18-anomalib", "resnet18", _ALIASED, Selection("random", 100, 42),
           "padim-anomalib, ResNet-18", border="mirror"),
    _padim("padim-wr50-anomalib", "wide_resnet50_2", _ALIASED, Selection("random", 550, 42),
           "padim-anomalib, Wide ResNet-50", border="mirror"),
    _efficientad("efficientad-s", _SOUND, _TEACHER, _FROM_THE_PAPER),
    _efficientad("efficientad-m", _SOUND, _TEACHER, _FROM_THE_PAPER, size="medium"),
    *(_efficientad(f"efficientad-{letter}-nelson1425", f"efficientad-nelson1425, EfficientAD-{letter.upper()}",
                   f"nelson1425's teacher_{size}.pth, and Imagenette in place of all of ImageNet (`--penalty FOLDER`)",
                   _FROM_NELSON1425, size=size, weights="nelson1425", border="zero", split="random_split",
                   maps="original", training=Training(augment="original"), **_IMAGES)
      for letter, size in (("s", "small"), ("m", "medium"))),
    _efficientad("efficientad-s-anomalib", "efficientad-anomalib, EfficientAD-S",
                 "anomalib's pretrained_teacher_small.pth, and Imagenette", _FROM_ANOMALIB, weights="anomalib",
                 border="raw-zero", **_IMAGES),
    # tried on cable, metal_nut, tile and transistor of the twin and on the real screw; an earlier version on four more
    Recipe("least-squares-student", LeastSquaresSettings(), "",
           "nothing published: our own shortcut, random filters and one layer by least squares", "nothing"),
    # chosen on the twin's metal nut: data/records/efficientad-convergence/choice-metal_nut-*.json
    _efficientad("efficientad-lite", "nothing published: the paper's four terms, our own teacher, half the student's "
                 "channels, 1,000 steps", "nothing",
                 ("1,000 steps with a learning rate of 1e-3, not 70,000 with 1e-4",
                  "half the channels in the student's layers before the last", "the teacher is distilled from "
                  "EfficientNet-Lite0 on procedural images and photographs", _PROCEDURAL.format("256"), _BORDER),
                 weights="shipped", width=0.5, penalties=256, precision="auto",
                 training=Training(steps=1000, rate=1e-3)),
)
# fmt: on
RECIPES = {row.name: row for row in _ROWS}


def size_of(size: int | str | Sequence[int]) -> tuple[int, int]:
    """(height, width) in pixels of 512, "512", "512x768" or (512, 768)."""
    try:
        sides = [int(side) for side in (str(size).split("x") if isinstance(size, int | str) else size)]
    except (TypeError, ValueError):
        sides = []
    if len(sides) not in (1, 2):
        raise OptionError(f"a size is such as 512, or 512x768 for height x width, not {size!r}")
    return sides[0], sides[-1]


def size_in_words(size: int | str | Sequence[int]) -> str:
    """ "512", or "512x768" for height x width; "" for the recipe's own."""
    if not size:
        return ""
    height, width = size_of(size)
    return f"{height}" if height == width else f"{height}x{width}"


def settings_of(
    name: str,
    weights: str | None = None,
    seed: int | None = None,
    steps: int = 0,
    penalty: str = "",
    size: int | str | Sequence[int] = "",
    roi: str = "",
) -> Settings:
    """The settings of the detector that `recipe` makes of the same arguments; needs no torch."""
    expect_one_of("recipe", name, RECIPES)
    settings = RECIPES[name].settings
    if size:
        settings = replace(settings, frame=_frame_of(RECIPES[name], size_of(size)))
    if weights:
        settings = replace(settings, weights=weights)
    if roi and (RECIPES[name].source or not isinstance(settings, PaDiMSettings)):
        kind = f"follows {RECIPES[name].reproduces}" if RECIPES[name].source else "is not PaDiM"
        raise OptionError(f"recipe '{name}' {kind}: leave out the region of interest (--roi none), or take padim-lite0")
    if isinstance(settings, EfficientADSettings):
        training = settings.training
        training = replace(training, steps=steps or training.steps, seed=training.seed if seed is None else seed)
        return replace(settings, training=training, penalty=penalty or settings.penalty)
    if isinstance(settings, LeastSquaresSettings):
        if penalty:
            raise OptionError(f"recipe '{name}' has no penalty images")
        return replace(settings, steps=steps or settings.steps, seed=settings.seed if seed is None else seed)
    if steps or penalty:
        raise OptionError(f"recipe '{name}' is PaDiM: it has no training steps and no penalty images")
    settings = replace(settings, roi=roi)
    if seed is None:
        return settings
    return replace(settings, seed=seed, selection=replace(settings.selection, seed=seed))


def _frame_of(row: Recipe, size: tuple[int, int]) -> Frame:
    """The recipe's frame for whole images of this (height, width)."""
    if row.source:
        raise OptionError(f"recipe '{row.name}' follows {row.reproduces}: leave out the size, or take padim-lite0")
    least, step = (LEAST, STRIDE) if isinstance(row.settings, PaDiMSettings) else (LEAST_EFFICIENTAD, 1)
    near = [min(max(step * round(side / step), least), LARGEST) for side in size]
    if near != list(size):
        sizes = f"{least} to {LARGEST} pixels a side" + (f" in multiples of {step}" if step > 1 else "")
        raise OptionError(f"'{row.name}' takes {sizes}, not {size[0]}x{size[1]}: take {near[0]}x{near[1]}")
    return replace(row.settings.frame, resize=size, crop=None)


def recipe(
    name: str,
    weights: str | None = None,
    seed: int | None = None,
    device: str = "auto",
    steps: int = 0,
    penalty: str = "",
    size: int | str | Sequence[int] = "",
    roi: str | Path = "",
) -> Detector:
    """A detector made by a named recipe, ready to `fit`.

    Args:
        name: one of `RECIPES`.
        weights: "imagenet", "random", "shipped" or a file; the recipe's own unless given.
        seed: for everything that is drawn at random (dimensions, weights, order); the recipe's own unless given.
        device: "auto", "cpu", "cuda" or "cuda:1".
        steps: of a training; 0 is the recipe's own.
        penalty: EfficientAD's penalty images, a folder or a word; "" is the recipe's own.
        size: what whole images are resized to, such as 512, or (512, 768) for (height, width); "" is the recipe's own.
            A recipe that follows a published row takes no other.
        roi: the region of interest, a mask of the images' size, white where they are judged; "" is all of them. It is
            for PaDiM's recipes that follow no published row.
    """
    settings = settings_of(name, weights, seed, steps, penalty, size, str(roi))
    if isinstance(settings, EfficientADSettings):
        from ..efficientad.detector import EfficientAD

        return EfficientAD.from_settings(settings, device)
    if isinstance(settings, LeastSquaresSettings):
        from ..least_squares.detector import LeastSquaresStudent

        return LeastSquaresStudent.from_settings(settings, device)
    from ..padim.detector import PaDiM

    return PaDiM.from_settings(settings, device)


def table() -> str:
    """All recipes: name, what each follows, what it needs, how long it takes, how much memory, where it differs."""
    width = max(map(len, RECIPES)) + 2
    measured = costs()
    rows = []
    for name, row in RECIPES.items():
        rows.append(f"{name:<{width}}{row.reproduces}; needs {row.needs}; {measured.get(name, 'not measured')}")
        rows += [f"{'':<{width}}differs: {deviation}" for deviation in row.deviations]
    machines = " or ".join(sorted({cost.where for cost in measured.values()}))
    return "\n".join([*rows, "", f"Times and memory: {TRAIN} training and {TEST} test images on {machines}."])
