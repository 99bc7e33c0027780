"""`data status` and `data check`: what is where, whether it is whole, and the fix of every problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from ..twin import location, rendered, twin_root
from ..util.mvtec_counts import CATEGORIES, KINDS, plan, published
from .images import ahead, load_image, load_mask
from .mvtec import categories_in, data_root, images_in, mask_of, usual_roots


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file or folder, and what to do about it."""

    path: Path
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.fix}"


@dataclass(frozen=True)
class CategoryCheck:
    """One category: how many images it has, and what is wrong with it. `expected` names the table it agrees with."""

    name: str
    train: int
    good: int
    defective: int
    expected: str
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class CheckReport:
    """The check of a data root."""

    root: Path
    categories: tuple[CategoryCheck, ...]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems of all categories."""
        return tuple(problem for category in self.categories for problem in category.problems)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        lines = [f"{self.root}", f"{'category':<14}{'train':>6}{'good':>6}{'defective':>11}  counts"]
        lines += [f"{c.name:<14}{c.train:>6}{c.good:>6}{c.defective:>11}  {c.expected}" for c in self.categories]
        lines += ["", *(str(problem) for problem in self.problems)]
        count = len(self.problems)
        return "\n".join([*lines, f"{count} problem{'s' * (count != 1)} found" if count else "everything is whole"])


def check(root: str | Path | None = None) -> CheckReport:
    """Read every image and mask below a data root and report what is not as it should be.

    Args:
        root: as for `load_category`; by default the one in use.
    """
    place = data_root(root)
    if isinstance(place, str):
        kind = place.partition(":")[2]
        folders = {name: location(name, kind) for name in rendered(kind)}
        place, missing = twin_root(kind), f"nothing of the {kind} twin is rendered yet: `padim-nb data render` does it"
    elif (place / "train" / "good").is_dir():
        folders, missing = {place.name: place}, ""
    else:
        names = {*categories_in(place), *(name for name in CATEGORIES if (place / name).is_dir())}
        folders = {name: place / name for name in sorted(names)}
        missing = f"{place} holds no category: expected folders such as {place / 'cable' / 'train' / 'good'}"
    if not folders:
        raise DataError(missing)
    return CheckReport(place, tuple(_check(folder, name) for name, folder in folders.items()))


def status() -> str:
    """Where data is looked for, which root is in use, and what of it is there."""
    place = data_root()
    lines = ["looked for, the first that exists is used:"]
    lines += [
        "  PADIM_NB_DATA",
        *(f"  {root}{'  (here)' if root.is_dir() else ''}" for root in usual_roots()),
        "  the twin",
    ]
    if isinstance(place, str):
        kind = place.partition(":")[2]
        lines.append(f"in use: the twin ({kind}), rendered on this machine, not MVTec AD")
    else:
        names = categories_in(place)
        missing = [name for name in CATEGORIES if name not in names]
        lines.append(f"in use: {place}: {', '.join(names) or 'no category'}")
        if missing:
            lines.append(f"missing of MVTec AD's fifteen: {', '.join(missing)}")
    for kind in KINDS:
        have = rendered(kind)
        lines.append(f"twin ({kind}): {len(have)} of {len(CATEGORIES)} categories rendered in {twin_root(kind)}")
    return "\n".join(lines)


def _check(folder: Path, name: str) -> CategoryCheck:
    train, good = images_in(folder / "train" / "good"), images_in(folder / "test" / "good")
    defects = {p.name: images_in(p) for p in sorted((folder / "test").glob("*")) if p.is_dir() and p.name != "good"}
    counts = (len(train), len(good), {defect: len(images) for defect, images in defects.items()})
    problems = [*_counts_differ(folder, name, counts)] if name in CATEGORIES else []
    if not train:
        problems.append(Problem(folder / "train" / "good", "has no images", "put the good ones there"))
    paths = [*train, *good, *(path for images in defects.values() for path in images)]
    problems += [problem for problem in ahead(_unreadable, paths) if problem]
    if (folder / "ground_truth").is_dir():
        for defect, images in defects.items():
            problems += _masks(folder / "ground_truth" / defect, images)
    defective = sum(map(len, defects.values()))
    return CategoryCheck(name, len(train), len(good), defective, _agrees(name, counts), tuple(problems))


def _agrees(name: str, counts: tuple[int, int, dict[str, int]]) -> str:
    if name not in CATEGORIES:
        return "your own"
    tables = {"as published": published()[name].images, "twin, lite": plan(name, "lite")}
    return next((label for label, p in tables.items() if counts == (p.train, p.good, dict(p.defects))), "differ")


def _counts_differ(folder: Path, name: str, counts: tuple[int, int, dict[str, int]]) -> Iterator[Problem]:
    if _agrees(name, counts) != "differ":
        return
    table, fix = published()[name].images, "extract the archive again, or rename the folder if it is your own"
    expected = {"train/good": table.train, "test/good": table.good, **_below_test(table.defects)}
    present = {"train/good": counts[0], "test/good": counts[1], **_below_test(counts[2])}
    for place in sorted({*expected, *present}):
        if expected.get(place, 0) != present.get(place, 0):
            what = f"{present.get(place, 0)} images where MVTec AD has {expected.get(place, 0)}"
            yield Problem(folder / place, what, fix)


def _below_test(defects: Mapping[str, int]) -> dict[str, int]:
    return {f"test/{defect}": count for defect, count in defects.items()}


def _unreadable(path: Path) -> Problem | None:
    try:
        load_image(path)
    except DataError as error:
        what, _, fix = str(error).removeprefix(f"{path} ").partition(": ")
        return Problem(path, what, fix)
    return None


def _masks(truth: Path, images: list[Path]) -> Iterator[Problem]:
    used = set()
    for image in images:
        mask = mask_of(image, truth)
        if mask is None:
            yield Problem(image, "has no mask", f"put it at {truth / f'{image.stem}_mask.png'}")
            continue
        used.add(mask)
        try:
            marked, size = load_mask(mask), load_image(image).shape[:2]
        except DataError as error:
            if str(mask) in str(error):
                yield Problem(mask, "is not a readable image", "make the mask again")
            continue
        if marked.shape != size:
            yield Problem(
                mask, f"is {marked.shape[0]}x{marked.shape[1]}, its image {size[0]}x{size[1]}", "make it again"
            )
        elif not marked.any():
            yield Problem(mask, "marks nothing", "draw the defect, or move the image to test/good")
    for stray in set(images_in(truth)) - used:
        yield Problem(stray, "belongs to no image", "rename it <image>_mask.png or remove it")
