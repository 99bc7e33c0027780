"""Named, frozen recipes: each says all that decides a detector, and what it reproduces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..data.images import Frame
from ..efficientad.settings import EfficientADSettings, Training
from ..errors import OptionError, did_you_mean
from ..padim.settings import QUIRKS, PaDiMSettings, Selection
from .costs import TEST, TRAIN, costs

if TYPE_CHECKING:
    from ..detectors import Detector

DEFAULT = "padim-lite0"
QUICK_STEPS, QUICK_RATE = 150, 1e-3
_CROP = Frame(resize=256, crop=224, resample="lanczos")
_WHOLE = Frame(resize=(256, 256), resample="bilinear-aliased")
_TF = Frame(resize=(256, 256), crop=224, resample="bilinear-aliased")
_TF_FLOOR = replace(_TF, mask_resample="bilinear-floor")


@dataclass(frozen=True)
class Recipe:
    """A named detector: its settings, the published row (source, name) it reproduces, and the files it needs."""

    name: str
    settings: PaDiMSettings | EfficientADSettings
    source: str
    row: str
    needs: str

    @property
    def reproduces(self) -> str:
        """In words: the published row, or what it is instead."""
        return f"{self.source}, {self.row}" if self.source else self.row


def _padim(name: str, backbone: str, frame: Frame, selection: Selection, published: str, **more: object) -> Recipe:
    network = backbone.rpartition("-")[0] or backbone  # of an EfficientNet without the name of its taps
    needs = (
        "nothing"
        if network in ("gabor", "efficientnet-lite0") or "weights" in more
        else f"ImageNet weights of {network}"
    )
    return Recipe(name, PaDiMSettings(backbone, frame, selection, **more), *_published(published), needs)


def _efficient(tap: str, row: str) -> Recipe:
    published = f"padim-efficientnet-pytorch, {row}"
    return _padim(f"padim-eff{tap}", f"efficientnet-{tap}", _CROP, Selection("all"), published)


def _efficientad(name: str, published: str, needs: str, **more: object) -> Recipe:
    return Recipe(name, EfficientADSettings(**more), *_published(published), needs)


def _published(text: str) -> tuple[str, str]:
    """("source", "row"), or ("", what it is) where nothing of the kind was published."""
    source, comma, row = text.partition(", ")
    return (source, row) if comma else ("", text)


_PAPER = "a teacher distilled from WideResNet-101 (`padim-nb distill`)"
_ROWS = (
    _padim(
        "padim-lite0",
        "efficientnet-lite0",
        Frame((256, 256)),
        Selection("random", 100, 1024),
        "nothing published: ImageNet features that come with the installation",
    ),
    _padim("padim-gabor", "gabor", Frame((256, 256)), Selection("all"), "nothing published: a baseline by formula"),
    _padim(
        "padim-random",
        "resnet18",
        Frame((256, 256)),
        Selection("random", 100, 1024),
        "nothing published: a network that has learnt nothing",
        weights="random",
    ),
    _padim(
        "padim-r18-rd100", "resnet18", _CROP, Selection("random", 100, 1024), "padim-efficientnet-pytorch, R18-Rd100"
    ),
    _padim(
        "padim-wr50-rd550",
        "wide_resnet50_2",
        _CROP,
        Selection("random", 550, 1024),
        "padim-efficientnet-pytorch, WR50-Rd550",
    ),
    _efficient("b7-fst", "Effi-B7-Fst-Block"),
    _efficient("b7-md", "Effi-B7-Md-Block"),
    _efficient("b7-lst", "Effi-B7-Lst-Block"),
    _efficient("b4-fst", "Effi-B4"),
    _efficient("b4-md", "Effi-B4, middle blocks"),
    _efficient("b4-lst", "Effi-B4, last blocks"),
    _padim(
        "padim-effb5-paper",
        "efficientnet-b5-paper",
        Frame(256, 224, "bicubic"),
        Selection("all"),
        "nothing published a category: the paper's EfficientNet-B5",
        upsample="bicubic",
    ),
    *(
        _padim(
            f"padim-tf-net{n}{ending}",
            f"efficientnet-b7-net{n}",
            frame,
            Selection("random", 1000, 10),
            f"padim-tensorflow, Net {n}",
            quirks=quirks,
        )
        for n in (1, 2, 3)
        for ending, frame, quirks in (("", _TF_FLOOR, QUIRKS), ("-fixed", _TF, ()))
    ),
    *(
        _padim(
            f"padim-{short}-anomalib",
            net,
            _WHOLE,
            Selection("random", d, 42),
            f"padim-anomalib, {row}",
            border="mirror",
        )
        for short, net, d, row in (
            ("r18", "resnet18", 100, "ResNet-18"),
            ("wr50", "wide_resnet50_2", 550, "Wide ResNet-50"),
        )
    ),
    _efficientad("efficientad-s", "efficientad-nelson1425, EfficientAD-S", _PAPER),
    _efficientad("efficientad-m", "efficientad-nelson1425, EfficientAD-M", _PAPER, size="medium"),
    _efficientad("efficientad-s-anomalib", "efficientad-anomalib, EfficientAD-S", _PAPER, border="raw-zero"),
    _efficientad(
        "efficientad-quick",
        "nothing published: few steps and our own teacher",
        "nothing",
        weights="shipped",
        training=Training(steps=QUICK_STEPS, rate=QUICK_RATE),
        penalties=256,
        precision="auto",
    ),
)
RECIPES = {row.name: row for row in _ROWS}


def recipe(
    name: str,
    weights: str | None = None,
    seed: int | None = None,
    device: str = "auto",
    steps: int = 0,
    penalty: str = "",
) -> Detector:
    """A detector made by a named recipe, ready to `fit`.

    `seed` replaces the recipe's own for what is drawn at random (dimensions, weights, order); `weights` is
    "imagenet", "random", "shipped" or a file. `steps` and `penalty` are EfficientAD's.
    """
    if name not in RECIPES:
        raise OptionError(f"no recipe {name!r}{did_you_mean(name, RECIPES)}")
    settings = RECIPES[name].settings
    if weights:
        settings = replace(settings, weights=weights)
    if isinstance(settings, EfficientADSettings):
        course = replace(
            settings.training,
            steps=steps or settings.training.steps,
            seed=settings.training.seed if seed is None else seed,
        )
        settings = replace(settings, training=course, penalty=penalty or settings.penalty)
        from ..efficientad.detector import EfficientAD

        return EfficientAD.from_settings(settings, device)
    if steps or penalty:
        raise OptionError(f"recipe '{name}' is PaDiM: it knows no steps and no penalty pictures")
    if seed is not None:
        settings = replace(settings, seed=seed, selection=replace(settings.selection, seed=seed))
    from ..padim.detector import PaDiM

    return PaDiM.from_settings(settings, device)


def table() -> str:
    """All recipes: name, what each reproduces, what it needs, what it takes."""
    wide = max(map(len, RECIPES)) + 2
    known = costs()
    rows = [
        f"{name:<{wide}}{each.reproduces}; needs {each.needs}; {known.get(name, 'not measured')}"
        for name, each in RECIPES.items()
    ]
    where = " or ".join(sorted({cost.where for cost in known.values()}))
    return "\n".join([*rows, "", f"Times and memory: {TRAIN} training and {TEST} test pictures on {where}."])
