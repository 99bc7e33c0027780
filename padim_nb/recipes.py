"""Named, frozen recipes: each says all that decides a detector, and what it reproduces."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .embedding import Selection
from .errors import OptionError, did_you_mean
from .images import Frame
from .padim import PaDiM, Settings

DEFAULT = "padim-gabor"
_CROP = Frame(resize=256, crop=224, resample="lanczos")
_WHOLE = Frame(resize=(256, 256), resample="bilinear-aliased")


@dataclass(frozen=True)
class Recipe:
    """A named detector: its settings, what it reproduces, and the files it needs."""

    name: str
    settings: Settings
    reproduces: str
    needs: str


def _recipes(*rows: Recipe) -> dict[str, Recipe]:
    return {row.name: row for row in rows}


RECIPES = _recipes(
    Recipe(
        "padim-gabor",
        Settings("gabor", Frame(resize=(256, 256)), Selection("all")),
        "nothing published: filters by formula, a baseline that needs no file",
        "nothing",
    ),
    Recipe(
        "padim-r18-rd100",
        Settings("resnet18", _CROP, Selection("random", 100, 1024)),
        "padim-efficientnet-pytorch, R18-Rd100",
        "ImageNet weights of resnet18",
    ),
    Recipe(
        "padim-wr50-rd550",
        Settings("wide_resnet50_2", _CROP, Selection("random", 550, 1024)),
        "padim-efficientnet-pytorch, WR50-Rd550",
        "ImageNet weights of wide_resnet50_2",
    ),
    Recipe(
        "padim-r18-anomalib",
        Settings("resnet18", _WHOLE, Selection("random", 100, 42), border="mirror"),
        "padim-anomalib, ResNet-18",
        "ImageNet weights of resnet18",
    ),
    Recipe(
        "padim-wr50-anomalib",
        Settings("wide_resnet50_2", _WHOLE, Selection("random", 550, 42), border="mirror"),
        "padim-anomalib, Wide ResNet-50",
        "ImageNet weights of wide_resnet50_2",
    ),
)


def recipe(name: str, weights: str | None = None, seed: int | None = None, device: str = "auto") -> PaDiM:
    """A detector made by a named recipe, ready to `fit`.

    `seed` replaces the recipe's own for what is drawn at random (dimensions, random weights); `weights` is
    "imagenet", "random" or a file.
    """
    if name not in RECIPES:
        raise OptionError(f"no recipe {name!r}{did_you_mean(name, RECIPES)}")
    settings = RECIPES[name].settings
    if seed is not None:
        settings = replace(settings, seed=seed, selection=replace(settings.selection, seed=seed))
    if weights:
        settings = replace(settings, weights=weights)
    return PaDiM.from_settings(settings, device)


def table() -> str:
    """All recipes: name, what each reproduces, what it needs."""
    wide = max(map(len, RECIPES)) + 2
    rows = [f"{name:<{wide}}{each.reproduces}; needs {each.needs}" for name, each in RECIPES.items()]
    return "\n".join(rows)
