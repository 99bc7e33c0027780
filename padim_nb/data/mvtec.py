"""A data set's folders, a folder or a table of your own, or the twin -> `Category` of `Sample`s."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL.ImageFile import ImageFile

from ..errors import CategoryNotFound, DataError, did_you_mean, expect_one_of
from ..util.mvtec_counts import CATEGORIES, KINDS
from .layouts import MVTEC, Layout, layout_of

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
USUAL_ROOT = Path("data") / "mvtec_anomaly_detection"


@dataclass(frozen=True)
class Sample:
    """One image: `label` is 0 for good and 1 for defective, `defect` the name of its folder.

    `mask` is a file, or a folder of several masks of one image.
    """

    image: Path
    label: int
    defect: str
    mask: Path | None = None


@dataclass(frozen=True)
class Category:
    """The images of one kind of part; `source` is 'mvtec', 'twin' or, for a user's own, 'folder'."""

    name: str
    root: Path
    source: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]

    @property
    def has_masks(self) -> bool:
        """Whether there are defective images and all of them have masks, as pixel-level metrics need."""
        defective = [sample for sample in self.test if sample.label]
        return bool(defective) and all(sample.mask for sample in defective)


def load_category(name: str, root: str | Path | None = None) -> Category:
    """Find one category's images.

    Args:
        name: of the category, such as "cable".
        root: a folder of categories, or of one (it has train/good); a CSV file; "twin" or "twin:full"; by default
            PADIM_NB_DATA, else data/mvtec_anomaly_detection, else the twin, which is rendered where it is missing.
    """
    from .tables import read_table, table_of

    plain_name(name)
    place = data_root(root)
    if isinstance(place, str):
        from ..twin import ensure

        if name not in CATEGORIES:
            raise CategoryNotFound(f"no category {name!r} in the twin{did_you_mean(name, CATEGORIES)}")
        return scan(ensure(name, place.partition(":")[2]), name, "twin")
    if table := table_of(place):
        return read_table(table, name)
    if layout_of(place):
        return scan(place, name, "folder")
    names = categories_in(place)
    if not names:
        raise DataError(f"{place} holds no category: expected {place / name / 'train' / 'good'}")
    if name not in names:
        raise CategoryNotFound(f"no category {name!r} in {place}{did_you_mean(name, names)}")
    return scan(place / name, name, "mvtec" if name in CATEGORIES else "folder")


def plain_name(name: str) -> str:
    """A category's name, refused unless it can only be a folder right below a root."""
    plain = isinstance(name, str) and name.isprintable() and name.strip() == name and len(name.encode()) < 200
    if not plain or name in ("", ".", "..") or any(c in name for c in "/\\:"):
        raise CategoryNotFound(f"{name!r:.80} is no category name: give a folder's plain name, such as 'cable'")
    return name


def data_root(root: str | Path | None = None) -> Path | str:
    """The data root in use: a folder, or 'twin' / 'twin:full' where there is none or it was asked for."""
    chosen, origin = (root, "") if root else (os.environ.get("PADIM_NB_DATA"), " (from PADIM_NB_DATA)")
    if chosen:
        text = os.fspath(chosen)
        if text.split(":")[0] == "twin" and not Path(text).exists():
            kind = text.partition(":")[2] or "lite"
            expect_one_of("twin of kind", kind, KINDS)
            return f"twin:{kind}"
        place = Path(text).expanduser()
        if not (place.is_dir() or (place.is_file() and place.suffix.lower() == ".csv")):
            raise DataError(f"the data root {place}{origin} is not a folder: give one, a CSV file, or 'twin'")
        return place
    return next((place for place in usual_roots() if place.is_dir()), "twin:lite")


def usual_roots() -> list[Path]:
    """Where data/mvtec_anomaly_detection is looked for: the working folder and those above, then the clone."""
    here = Path.cwd()
    clone = Path(__file__).resolve().parents[2]
    return list(dict.fromkeys(folder / USUAL_ROOT for folder in (here, *here.parents, clone)))


def categories_in(root: Path) -> list[str]:
    """The names of the folders below a root that hold training images."""
    return sorted(entry.name for entry in root.iterdir() if layout_of(entry))


def defects_in(folder: Path, layout: Layout) -> list[str]:
    """The names of the folders of defective images in a category's test folder."""
    others = (layout.good, Path(layout.truth).name)
    return sorted(p.name for p in (folder / layout.test).glob("[!.]*") if p.is_dir() and p.name not in others)


def scan(folder: Path, name: str, source: str) -> Category:
    """Read one category's folder: train/good, test/<good or a defect>, ground_truth/<defect> where there is one."""
    layout = layout_of(folder) or MVTEC
    train = tuple(Sample(path, 0, "good") for path in images_in(folder / layout.train))
    if not train:
        raise DataError(f"no images in {folder / layout.train}: put the good ones there ({', '.join(ENDINGS)})")
    return Category(name, folder, source, train, tuple(scan_test(folder, layout)))


def images_in(folder: Path) -> list[Path]:
    """The image files directly in a folder, in the order of their names; [] where there is no such folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return [Path(path) for path in sorted(entry.path for entry in entries if _is_image(entry))]


def mask_of(image: Path, truth: Path) -> Path:
    """The mask of an image in ground_truth/<defect>: <stem>_mask.* as in MVTec AD, <stem>.*, or the folder <stem>.

    DataError where there is none, or one of another size.
    """
    if images_in(truth / image.stem):
        return expect_same_size(truth / image.stem, image)
    places = (truth / f"{stem}{ending}" for stem in (f"{image.stem}_mask", image.stem) for ending in ENDINGS)
    mask = next((place for place in places if place.is_file()), None)
    if mask is None:
        place = truth / f"{image.stem}_mask.png"
        raise DataError(f"{image} has no mask: put it at {place}, or remove ground_truth to do without masks")
    return expect_same_size(mask, image)


def expect_same_size(mask: Path, image: Path) -> Path:
    """The mask, or the folder of masks, itself; DataError where a mask is not of its image's size."""
    for path in images_in(mask) or [mask]:
        if header(path) != header(image):
            sizes = " and ".join("x".join(map(str, header(file))) for file in (path, image))
            raise DataError(f"{path} and its image {image} differ in size ({sizes}): make the mask again")
    return mask


def header(path: Path) -> tuple[int, int]:
    """(width, height) of an image file, from its first bytes."""
    with opened(path) as image:
        return image.size


@contextmanager
def opened(path: Path) -> Iterator[ImageFile]:
    """An image file opened by Pillow; DataError with one line for whatever is wrong with it."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(" '")[0]
        raise DataError(f"{path} is not a readable image ({reason}): replace or remove it") from error


def _is_image(entry: os.DirEntry) -> bool:
    with suppress(OSError):  # a link that leads round in circles
        return not entry.name.startswith(".") and entry.name.lower().endswith(ENDINGS) and entry.is_file()
    return False


def scan_test(folder: Path, layout: Layout) -> Iterator[Sample]:
    """The test images of a category's folder: good ones, then those of each kind of defect."""
    test, truth = folder / layout.test, folder / layout.truth
    yield from (Sample(image, 0, "good") for image in images_in(test / layout.good))
    for defect in defects_in(folder, layout):
        for image in images_in(test / defect):
            yield Sample(image, 1, defect, mask_of(image, truth / defect) if truth.is_dir() else None)
