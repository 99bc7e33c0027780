"""A data set's folders, a folder or a table of your own, or the twin -> `Category` of `Sample`s."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile

from ..errors import CategoryNotFound, DataError, did_you_mean, expect_one_of
from ..util.mvtec_counts import CATEGORIES, KINDS, published
from ..util.twin_marker import rendered_seed
from .layouts import MVTEC, Layout, layout_of

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
USUAL_ROOT = Path("data") / "mvtec_anomaly_detection"
ROI = "roi.png"
MAY_BE_MISSING = "masks-may-be-missing.txt"  # in ground_truth, it allows defective images without a mask


@dataclass(frozen=True)
class Sample:
    """One image: `label` is 0 for good and 1 for defective, `defect` the name of its folder.

    `mask` is a file, or a folder of several masks of one image. Images of the same `group` belong together, as those of
    one part or of one lot do: they are left out together. An image without one is on its own.
    """

    image: Path
    label: int
    defect: str
    mask: Path | None = None
    group: str = ""


@dataclass(frozen=True)
class Category:
    """The images of one kind of part; `source` is 'mvtec', 'twin', 'twin:seed=7' or, for one's own, 'folder'.

    `validation` are good images that a data set sets aside, as MVTec LOCO AD and MVTec AD 2 do.
    """

    name: str
    root: Path
    source: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    validation: tuple[Sample, ...] = ()

    @property
    def has_masks(self) -> bool:
        """Whether there are defective images and all of them have masks, as pixel-level metrics need."""
        defective = [sample for sample in self.test if sample.label]
        return bool(defective) and all(sample.mask for sample in defective)

    @property
    def roi(self) -> Path | None:
        """The region of interest, `roi.png` beside the images or their table; None where there is none."""
        path = self.root / ROI
        return path if path.is_file() else None


def load_category(name: str, root: str | Path | None = None, group: str = "") -> Category:
    """Find one category's images; a warning says where images are copies of training images.

    Args:
        name: of the category, such as "cable".
        root: a folder of categories, or of one (it has train/good), which takes its own name only, or that of the
            category of MVTec AD whose images it has; a CSV file; "twin" or "twin:full"; "twin:seed=7" for parts and
            defects that no other seed has; by default PADIM_NB_DATA, else data/mvtec_anomaly_detection, else the twin,
            which is rendered where it is missing.
        group: a regular expression that finds the group of a training image in its file's name: what its first group
            matches, or all of it. It takes the place of sub-folders of train/good and of a table's column `group`.
    """
    from .contents import copies
    from .groups import grouped

    category = _find(plain_name(name), root)
    if group:
        category = replace(category, train=grouped(category.train, group))
    train, test = ([sample.image for sample in samples] for samples in (category.train, category.test))
    if not category.source.startswith("twin") and (pairs := copies(train, test)):
        original, copy = pairs[0]
        others = f" and {len(pairs) - 1} more" if pairs[1:] else ""
        warnings.warn(f"{copy} is a copy of {original}{others}: `padim-nb data check` lists them", stacklevel=2)
    return category


def _find(name: str, root: str | Path | None) -> Category:
    from .tables import read_table, table_of

    place = data_root(root)
    if isinstance(place, str):
        from ..twin import ensure  # needs SciPy

        if name not in CATEGORIES:
            raise CategoryNotFound(f"no category {name!r} in the twin{did_you_mean(name, CATEGORIES)}")
        kind, seed = twin_of(place)
        return scan(ensure(name, kind, seed=seed), name)
    if table := table_of(place):
        return read_table(table, name)
    if layout_of(place):
        category = scan(place, name)
        own = place.resolve().name
        if name not in (place.name, own) and not has_mvtec_counts(category):
            raise CategoryNotFound(f"{place} holds one category, {own!r}, not {name!r}: give its name, or another root")
        return category
    names = categories_in(place)
    if not names:
        raise DataError(f"{place} holds no category: expected {place / name / 'train' / 'good'}")
    if name not in names:
        raise CategoryNotFound(f"no category {name!r} in {place}{did_you_mean(name, names)}")
    return scan(place / name, name)


def plain_name(name: str) -> str:
    """A category's name, refused unless it can only be a folder right below a root."""
    plain = isinstance(name, str) and name.isprintable() and name.strip() == name and len(name.encode()) < 200
    if not plain or name in ("", ".", "..") or any(c in name for c in "/\\:"):
        raise CategoryNotFound(f"{name!r:.80} is no category name: give a folder's plain name, such as 'cable'")
    return name


def data_root(root: str | Path | None = None) -> Path | str:
    """The data root in use: a folder, or a twin such as 'twin:lite' or 'twin:full:seed=7'."""
    chosen, origin = (root, "") if root else (os.environ.get("PADIM_NB_DATA"), " (from PADIM_NB_DATA)")
    if chosen:
        text = os.fspath(chosen)
        if text.split(":")[0] == "twin" and not Path(text).exists():
            kind, seed = twin_of(text)
            return f"twin:{kind}:seed={seed}" if seed else f"twin:{kind}"
        place = Path(text).expanduser()
        if not (place.is_dir() or (place.is_file() and place.suffix.lower() == ".csv")):
            raise DataError(f"the data root {place}{origin} is not a folder: give one, a CSV file, or 'twin'")
        return place
    return next((place for place in usual_roots() if place.is_dir()), "twin:lite")


def twin_of(text: str) -> tuple[str, int]:
    """Kind and seed of a twin such as 'twin', 'twin:full', 'twin:seed=7' or 'twin:full:seed=7'."""
    kind, seed = "lite", 0
    for word in text.split(":")[1:]:
        name, _, value = word.partition("=")
        if name == "seed":
            if not (value.isascii() and value.isdigit() and len(value) < 10):
                raise DataError(f"the twin's seed is a number such as 7, not {value!r}: give twin:seed=7")
            seed = int(value)
        elif word:
            expect_one_of("twin of kind", word, KINDS)
            kind = word
    return kind, seed


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


def scan(folder: Path, name: str) -> Category:
    """Read one category's folder: train/good, test/<good or a defect>, ground_truth/<defect> where there is one."""
    layout = layout_of(folder) or MVTEC
    train = tuple(training_samples(folder / layout.train))
    if not train:
        raise DataError(f"no images in {folder / layout.train}: put the good ones there ({', '.join(ENDINGS)})")
    validation = tuple(Sample(path, 0, "good") for path in images_in(folder / layout.validation))
    category = Category(name, folder, "folder", train, tuple(scan_test(folder, layout)), validation)
    return replace(category, source=source_of(category))


def source_of(category: Category) -> str:
    """'twin' where the images were rendered here, 'mvtec' for MVTec AD's counts, else 'folder': no name decides.

    With another seed than the book's it is 'twin:seed=7': its results are not put beside those of the twin.
    """
    folders = {sample.image.parent for sample in (*category.train, *category.test)}
    seeds = {seed for seed in map(rendered_seed, folders) if seed is not None}
    if seeds:
        return f"twin:seed={max(seeds)}" if max(seeds) else "twin"
    return "mvtec" if has_mvtec_counts(category) else "folder"


def has_mvtec_counts(category: Category) -> bool:
    """Whether there are as many training, good and defective test images as MVTec AD has in the category of this name.

    The defective ones may lie in fewer folders than there. The full twin has the same counts.
    """
    if category.name not in CATEGORIES:
        return False
    published_counts = published()[category.name].images
    good = sum(not sample.label for sample in category.test)
    counts = (published_counts.train, published_counts.good, published_counts.test)
    return (len(category.train), good, len(category.test)) == counts


def training_samples(folder: Path) -> Iterator[Sample]:
    """The good images of a folder, then those of its sub-folders, each of which is a group."""
    yield from (Sample(path, 0, "good") for path in images_in(folder))
    whole = folder.resolve()
    above = {whole, *whole.parents}  # where a link that leads round in circles ends
    for place in sorted(path for path in folder.glob("[!.]*") if path.is_dir() and path.resolve() not in above):
        yield from (Sample(path, 0, "good", group=place.name) for path in images_in(place))


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
    if mask := _find_mask(image, truth):
        return expect_same_size(mask, image)
    place = truth / f"{image.stem}_mask.png"
    raise DataError(
        f"{image} has no mask: put it at {place}, or remove ground_truth to do without masks, "
        f"or write a file {truth.parent / MAY_BE_MISSING} to allow missing ones"
    )


def _find_mask(image: Path, truth: Path) -> Path | None:
    if images_in(truth / image.stem):
        return truth / image.stem
    places = (truth / f"{stem}{ending}" for stem in (f"{image.stem}_mask", image.stem) for ending in ENDINGS)
    return next((place for place in places if place.is_file()), None)


def optional_mask(image: Path, truth: Path) -> Path | None:
    """`mask_of`, or None where a file masks-may-be-missing.txt in ground_truth allows that it is missing."""
    allowed = (truth.parent / MAY_BE_MISSING).is_file()
    return None if allowed and _find_mask(image, truth) is None else mask_of(image, truth)


def expect_same_size(mask: Path, image: Path) -> Path:
    """The mask, or the folder of masks, itself; DataError where a mask is not of its image's size."""
    for path in images_in(mask) or [mask]:
        if header(path) != header(image):
            sizes = " and ".join("x".join(map(str, header(file))) for file in (path, image))
            turned = (
                ""
                if header(path, upright=False) != header(image, upright=False)
                else (" as a camera's orientation tag turns it: draw the mask on the turned image")
            )
            raise DataError(f"{path} and its image {image} differ in size ({sizes}){turned or ': make the mask again'}")
    return mask


def header(path: Path, upright: bool = True) -> tuple[int, int]:
    """(width, height) of an image file, from its first bytes: as it is decoded, or as it lies in the file."""
    with opened(path) as image:
        width, height = image.size
        # Pillow gives the turned size of a TIFF.
        turned = orientation(image) > 4 and image.format != "TIFF"
        return (height, width) if turned and upright else (width, height)


def orientation(image: ImageFile) -> int:
    """A camera's orientation tag, 1 to 8, as it is known before the pixels are read: also for the sizes of files."""
    tag = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)  # a PNG's own method decodes all of it
    return tag if tag in range(1, 9) else 1


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
            yield Sample(image, 1, defect, optional_mask(image, truth / defect) if truth.is_dir() else None)
