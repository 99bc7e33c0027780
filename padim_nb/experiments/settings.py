"""What a run is asked to do, and whether an earlier run did the same: all settings and all images are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, StrictStr

from ..data.groups import grouping, pattern_of
from ..data.mvtec import Category, load_category, plain_name
from ..efficientad.settings import EfficientADSettings
from ..errors import DataError, OptionError, did_you_mean, expect_one_of
from ..util.files import sha256
from ..util.validation import validated
from .recipes import DEFAULT, RECIPES, settings_of, size_in_words
from .record import Record, fingerprint, flat, plain, read_record

CHECKPOINT = "checkpoint.safetensors"


def _known_recipe(name: str) -> str:
    expect_one_of("recipe", name, RECIPES)
    return name


@validated
class RunSettings:
    """What a run is asked to do: the parameters of `run_category.ipynb` and of `padim-nb run`.

    `seed` -1 is the recipe's own. An empty string means the usual choice: `data` the first root that exists,
    `weights` the recipe's own, `out` the folder runs/<category>/<recipe>, with -size<size> and -seed<seed> where these
    were given. `steps` (0: the recipe's own) and `penalty` (a folder, or a word such as "none") are EfficientAD's.
    `size` is that of the images, such as "512", or "512x768" for height x width. `roi` is the region of interest, a
    mask's file; "" is `roi.png` beside the images where there is one, "none" is all of the image. `group` is a regular
    expression that finds the group of a training image in its file's name (see `load_category`).
    """

    category: Annotated[StrictStr, AfterValidator(plain_name)] = "cable"  # it becomes a folder's name
    recipe: Annotated[StrictStr, AfterValidator(_known_recipe)] = DEFAULT
    seed: Annotated[StrictInt, Field(ge=-1)] = -1
    data: StrictStr = ""
    weights: StrictStr = ""
    out: StrictStr = ""
    device: StrictStr = "auto"
    steps: Annotated[StrictInt, Field(ge=0)] = 0
    penalty: StrictStr = ""
    size: Annotated[str, BeforeValidator(size_in_words)] = ""
    roi: StrictStr = ""
    group: Annotated[StrictStr, AfterValidator(pattern_of)] = ""

    def __post_init__(self) -> None:
        settings_of(self.recipe, size=self.size, roi=self._given_roi)  # refused here, before any run

    @property
    def _given_roi(self) -> str:
        return "" if self.roi == "none" else self.roi

    @property
    def chosen(self) -> dict[str, Any]:
        """The arguments of `settings_of` and of `recipe`, but for the region of interest (`chosen_for`)."""
        names = ("weights", "steps", "penalty", "size")
        seed = self.seed if self.seed >= 0 else None
        return {"name": self.recipe, "seed": seed, **{name: getattr(self, name) for name in names}}

    def chosen_for(self, category: Category) -> dict[str, Any]:
        """All arguments of `settings_of` and of `recipe` for the images of this category."""
        return self.chosen | {"roi": self._given_roi or ("" if self.roi else str(category.roi or ""))}

    def load(self, data: Path | str | None = None) -> Category:
        """The category's images, from the data root of the settings unless another is given."""
        return load_category(self.category, data or self.data or None, self.group)

    @property
    def title(self) -> str:
        """The recipe, and the size where it is not the recipe's own."""
        return f"{self.recipe}-size{self.size}" if self.size else self.recipe

    @property
    def folder(self) -> Path:
        """Where this run's files go."""
        if self.out:
            return Path(self.out).expanduser()
        seed = f"-seed{self.seed}" if self.seed >= 0 else ""
        return Path("runs") / self.category / f"{self.title}{seed}"

    @property
    def checkpoint(self) -> Path:
        """Where a long training is saved while it runs, so that a run that was stopped resumes there."""
        return self.folder / CHECKPOINT


def settings_from(names: Mapping[str, Any]) -> RunSettings:
    """The settings among a fresh notebook's variables; any other variable is a misspelled parameter and refused.

    papermill accepts unknown parameters, so that `-p categry cable` would run the default category: call this with
    `globals()` in the cell right after the parameters. Settings whose folder holds another finished run are refused.
    """
    known = {entry.name for entry in fields(RunSettings)}
    given = {}
    for name, value in names.items():
        if name.startswith("_") or name in ("In", "Out") or callable(value) or isinstance(value, ModuleType):
            continue  # Jupyter's own, and what was imported
        if name not in known:
            raise OptionError(f"run_category has no parameter {name!r}{did_you_mean(name, known)}")
        given[name] = value
    settings = RunSettings(**given)
    if (settings.folder / "record.json").is_file():
        expect_free(settings, settings.load())
    return settings


def identity(settings: RunSettings, category: Category) -> dict[str, Any]:
    """All that decides a run's results, by name: two runs with the same identity are the same run."""
    wanted = settings_of(**settings.chosen_for(category))
    own = {"recipe": settings.recipe, "category": settings.category, **dict(flat(plain(wanted)))}
    if isinstance(wanted, EfficientADSettings) and not wanted.weights:
        from ..efficientad.teacher import distilled  # needs torch

        path = distilled(wanted.size)  # what `padim-nb distill` left on this machine
        own["teacher"] = sha256(path) if path.is_file() else None
    if settings.device != "auto":
        own["device"] = settings.device
    return own | {"images": fingerprint(category), "groups": grouping(category.train)}


def digest(settings: RunSettings, category: Category) -> str:
    """The identity as a few letters, for a file's name. The device is left out: a training may go on on another."""
    values = {name: value for name, value in identity(settings, category).items() if name != "device"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def changes(settings: RunSettings, category: Category, record: Record) -> list[str]:
    """In words what differs between a run to be done and one that a record describes; [] where they are the same."""
    if record.recipe != settings.recipe:
        return [f"recipe {record.recipe}, not {settings.recipe}"]
    if record.settings is None or not record.data.fingerprint:
        return ["settings or images that are not recorded"]
    wanted = identity(settings, category)
    there = {"category": record.category, "recipe": record.recipe, **dict(flat(record.settings))}
    there |= {"images": record.data.fingerprint, "groups": record.data.grouping}
    there |= {"device": record.device}
    if wanted.get("teacher"):
        there["teacher"] = record.weights.get("sha256")
    names = [name for name in {**there, **wanted} if name != "device" or name in wanted]
    return [_change(name, there, wanted) for name in names if there.get(name) != wanted.get(name)]


def _change(name: str, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    if name in ("images", "groups", "teacher"):  # hashes say nothing to a reader
        return f"another {name}" if name == "teacher" else f"other {name}"
    return f"{name} {there.get(name)!r}, not {wanted.get(name)!r}"


def conflict(settings: RunSettings, category: Category) -> str:
    """Why a run's folder is not free: it holds a finished run of other settings or images; "" where it is free.

    The same run may be done again: its files are replaced when the new ones are whole.
    """
    path = settings.folder / "record.json"
    if not path.is_file():
        return ""
    try:
        record = read_record(path)
    except DataError:  # half a record: nothing finished is lost
        return ""
    differing = changes(settings, category, record) if record else ["a record.json that is not a run's"]
    if not differing:
        return ""
    words = "; ".join(differing[:3]) + ("; ..." if len(differing) > 3 else "")
    return f"{settings.folder} holds a finished run with {words}"


def expect_free(settings: RunSettings, category: Category) -> None:
    """Refuse to replace a finished run of other settings or images."""
    if reason := conflict(settings, category):
        raise OptionError(f"{reason}: choose another out, or replace it with --force")
