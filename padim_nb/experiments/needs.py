"""`weights get`: the published files that a recipe needs, or one of them by its name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..efficientad.settings import IMAGENETTE, EfficientADSettings
from ..errors import OptionError, WeightsError, expect_one_of
from ..padim.settings import PaDiMSettings
from .recipes import RECIPES, Settings


def needs(settings: Settings) -> list[str]:
    """The names of the published files, as `weights get` knows them, that a detector of these settings reads."""
    from ..efficientad.teacher import source_of
    from ..features.backbones import SPECS
    from ..features.weights import sources

    if isinstance(settings, PaDiMSettings):
        network = SPECS[settings.backbone].weights
        return [network] if network in sources() and settings.weights in ("", "imagenet") else []
    teacher = source_of(settings.size, settings.weights)
    penalty = isinstance(settings, EfficientADSettings) and settings.penalty == IMAGENETTE
    return [*([teacher] if teacher else []), *([IMAGENETTE] if penalty else [])]


def get(name: str, given: Path | None = None) -> Iterator[str]:
    """Get one published file, or all that a recipe needs; returns lines that say what, under which terms and where.

    Args:
        name: of a recipe, or of one of `weights.all_sources()`.
        given: the file that was carried here, or a folder with the files.
    """
    from ..features import weights

    known = weights.all_sources()
    expect_one_of("weights", name, [*known, *RECIPES])
    names = [name]
    if name in RECIPES:
        settings = RECIPES[name].settings
        if isinstance(settings, EfficientADSettings) and not settings.weights:
            raise WeightsError(
                f"the teacher of '{name}' is published nowhere: `padim-nb weights get wide_resnet101_2`, "
                f"then `padim-nb distill --size {settings.size}` (hours)"
            )
        names = needs(settings)
        if not names:
            yield f"{name} needs no file that is not installed"
    if given is not None and len(names) != 1 and not given.is_dir():
        raise OptionError(f"'{name}' needs {', '.join(names) or 'no file'}: give each with its name, or their folder")
    for file in names:
        source = known[file]
        yield f"{file}: {source.file}, {source.megabytes:.0f} MB, {source.terms}"
        yield f"{file}: {weights.get(file, given=given)}"
