"""`data status` and `data check`: what is where, whether it is whole, and the fix of every problem."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from ..errors import DataError
from ..twin import location, rendered, twin_root
from ..util.mvtec_counts import CATEGORIES, KINDS, Plan, plan, published
from ..util.twin_marker import is_rendered
from .archive import LICENSE
from .contents import copies
from .duplicates import notes_on
from .groups import grouped, pattern_of
from .images import Frame, ahead, annotated_regions, load_image, load_mask
from .layouts import MVTEC, layout_of
from .mvtec import (
    MAY_BE_MISSING,
    Sample,
    categories_in,
    data_root,
    defects_in,
    images_in,
    optional_mask,
    scan,
    training_samples,
    twin_of,
    usual_roots,
)
from .tables import names_in, read_table, table_of

T = TypeVar("T")


@dataclass(frozen=True)
class CategoryCheck:
    """One category: how many images it has, and what is wrong with it. `expected` names the table it agrees with."""

    name: str
    train: int
    good: int
    defective: int
    expected: str
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """The check of a data root."""

    root: Path
    categories: tuple[CategoryCheck, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """All problems of all categories: a line each, with the file or folder and the fix."""
        return tuple(problem for category in self.categories for problem in category.problems)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        width = max([14, *(len(c.name) + 1 for c in self.categories)])
        lines = [f"{self.root}", f"{'category':<{width}}{'train':>6}{'good':>6}{'defective':>11}  counts"]
        lines += [f"{c.name:<{width}}{c.train:>6}{c.good:>6}{c.defective:>11}  {c.expected}" for c in self.categories]
        lines += ["", *self.problems, *(f"note: {note}" for c in self.categories for note in c.notes)]
        count = len(self.problems)
        return "\n".join([*lines, f"{count} problem{'s' * (count != 1)} found" if count else "everything is whole"])


def check(root: str | Path | None = None, group: str = "") -> CheckReport:
    """Read every image and mask below a data root and report what is not as it should be.

    Args:
        root: as for `load_category`; by default the one in use.
        group: as for `load_category`.
    """
    pattern_of(group)
    place = data_root(root)
    if isinstance(place, str):
        kind, seed = twin_of(place)
        folders = {name: location(name, kind, seed=seed) for name in rendered(kind, seed=seed)}
        missing = f"nothing of the {kind} twin is rendered yet: `padim-nb data render` does it"
        place = twin_root(kind, seed=seed)
    elif table := table_of(place):
        return CheckReport(table, tuple(_check_table(table, name, group) for name in names_in(table)))
    elif layout_of(place):
        folders, missing = {place.resolve().name: place}, ""
    else:
        names = {*categories_in(place), *(name for name in CATEGORIES if (place / name).is_dir())}
        folders = {name: place / name for name in sorted(names)}
        missing = f"{place} holds no category: expected folders such as {place / 'cable' / 'train' / 'good'}"
    if not folders:
        raise DataError(missing)
    return CheckReport(place, tuple(_check(folder, name, group) for name, folder in folders.items()))


def status() -> str:
    """Where data is looked for, which root is in use, and what of it is there."""
    place = data_root()
    lines = ["looked for, the first that exists is used:"]
    roots = [f"  {root}{'  (here)' if root.is_dir() else ''}" for root in usual_roots()]
    lines += ["  PADIM_NB_DATA", *roots, "  the twin"]
    if isinstance(place, str):
        lines.append(f"in use: the twin ({place.partition(':')[2]}), rendered on this machine, not MVTec AD")
    else:
        table = table_of(place)
        names = names_in(table) if table else categories_in(place)
        others = table or any(layout_of(place / name) != MVTEC for name in names)
        missing = [name for name in CATEGORIES if name not in names and not others]
        lines.append(f"in use: {place}: {', '.join(names) or 'no category'}")
        if missing:
            lines.append(f"missing of MVTec AD's fifteen: {', '.join(missing)}")
    for kind in KINDS:
        have = rendered(kind)
        lines.append(f"twin ({kind}): {len(have)} of {len(CATEGORIES)} categories rendered in {twin_root(kind)}")
    return "\n".join([*lines, "", LICENSE])


def _check(folder: Path, name: str, group: str) -> CategoryCheck:
    layout = layout_of(folder) or MVTEC
    places = [layout.train, *(f"{layout.test}/{kind}" for kind in (layout.good, *defects_in(folder, layout)))]
    train = list(training_samples(folder / layout.train))
    images = {place: images_in(folder / place) for place in places} | {layout.train: [s.image for s in train]}
    counts = {place: len(paths) for place, paths in images.items()}
    truth = folder / layout.truth
    problems: list[str] = []
    expected = "your own"
    if name in CATEGORIES:
        full, lite = _by_place(published()[name].images), _by_place(plan(name, "lite"))
        tables = {"twin, full": full, "twin, lite": lite} if is_rendered(folder) else {"as published": full}
        expected = next((label for label, table in tables.items() if counts == table), "differ")
        if expected == "differ":
            problems += _differences(folder, counts, full)
    if not counts[layout.train]:
        problems.append(f"{folder / layout.train} has no images: put the good ones there")
    for place, paths in images.items():
        masks = truth / Path(place).name if truth.is_dir() and place not in places[:2] else None
        results = ahead(partial(_unreadable, masks=masks), paths)
        problems += filter(None, _bar(results, len(paths), f"{name}/{place}"))
        stems = {path.stem for path in paths}
        problems += [
            f"{mask} belongs to no image: rename it <image>_mask.png or remove it"
            for mask in (images_in(masks) if masks else [])
            if not stems & {mask.stem, mask.stem.removesuffix("_mask")}
        ]
    train_images, *test_images = images.values()
    problems += _copies(train_images, [path for paths in test_images for path in paths])
    more, notes = _groups(name, train, group)
    problems += more
    if not problems:
        test = scan(folder, name).test
        problems += _saturation(test)
        without = sum(sample.mask is None for sample in test if sample.label)
        if truth.is_dir() and without:
            notes.append(
                f"{without} defective images of {name} have no mask, as {truth / MAY_BE_MISSING} allows: "
                "no pixel of this category is judged"
            )
    _, good, *defective = counts.values()
    return CategoryCheck(name, len(train), good, sum(defective), expected, tuple(problems), tuple(notes))


def _groups(name: str, train: Sequence[Sample], group: str) -> tuple[list[str], list[str]]:
    """Problems with the groups of a category's training images, and notes on them."""
    try:
        train = grouped(train, group) if group and train else train
    except DataError as error:
        return [f"{name}: {error}"], []
    try:
        return [], [f"{name}: {note}" for note in notes_on(train)]
    except DataError:  # an image that cannot be read is a problem of its own
        return [], []


def _copies(train: Sequence[Path], test: Sequence[Path]) -> Iterator[str]:
    for original, copy in copies(train, test):
        yield f"{copy} is listed twice" if copy == original else f"{copy} is a copy of {original}: remove one of them"


def _saturation(test: Sequence[Sample]) -> Iterator[str]:
    """What is wrong with MVTec LOCO AD's defects_config.json, or with the first mask that does not fit it."""
    try:
        for _ in annotated_regions(test, Frame()):
            pass
    except DataError as error:
        yield str(error)


def _bar(results: Iterator[T], total: int, what: str) -> Iterator[T]:
    return iter(tqdm(results, what, total, unit="image", disable=None, leave=False))


def _check_table(table: Path, name: str, group: str) -> CategoryCheck:
    try:
        category = read_table(table, name)
    except DataError as error:
        return CategoryCheck(name, 0, 0, 0, "your own", (str(error),))
    samples = [*category.train, *category.test]
    results = ahead(lambda sample: _unreadable(sample.image, mask=sample.mask), samples)
    problems = tuple(filter(None, _bar(results, len(samples), name)))
    train, test = ([sample.image for sample in samples] for samples in (category.train, category.test))
    more, notes = _groups(name, category.train, group)
    problems += (*_copies(train, test), *more)
    defective = sum(sample.label for sample in samples)
    good = len(category.test) - defective
    return CategoryCheck(name, len(category.train), good, defective, "your own", problems, tuple(notes))


def _by_place(counts: Plan) -> dict[str, int]:
    defects = {f"test/{defect}": count for defect, count in counts.defects.items()}
    return {"train/good": counts.train, "test/good": counts.good, **defects}


def _differences(folder: Path, present: dict[str, int], published: dict[str, int]) -> Iterator[str]:
    for place in sorted({*published, *present}):
        here, there = present.get(place, 0), published.get(place, 0)
        if here != there:
            what = f"{here} images where MVTec AD has {there}"
            yield f"{folder / place}: {what}; extract the archive again, or rename the folder if it is your own"


def _unreadable(image: Path, masks: Path | None = None, mask: Path | None = None) -> str | None:
    """What is wrong with an image, or with its mask, which may be looked for in a folder of masks."""
    try:
        load_image(image)
        if masks:
            mask = optional_mask(image, masks)
        if mask:
            load_mask(mask, empty=False)
    except DataError as error:
        return str(error)
    return None
