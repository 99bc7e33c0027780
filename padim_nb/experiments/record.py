"""`record.json`: everything that is known of one run; written by `run`, read by every table, sweep and figure."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, field, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from ..data.contents import content_hashes, contents_of
from ..data.mvtec import Category, images_in
from ..errors import DataError, OptionError
from ..evaluation.report import DefectRow, Report
from ..evaluation.thresholds import Threshold
from ..util.files import sha256
from ..util.mvtec_counts import published
from ..util.validation import from_plain, validated

if TYPE_CHECKING:
    from .recipes import Settings


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds characters that cannot be printed")
    return text


# No files, even where one of such a name exists.
NAMED = ("", "imagenet", "random", "shipped", "anomalib", "nelson1425", "formula", "procedural", "imagenette", "bank",
         "none")  # fmt: skip
Word = Annotated[str, AfterValidator(_printable)]


@validated
class DataFacts:
    """The images of a run; `fingerprint` is a hash of the contents of all image files and masks.

    Where training images are in groups, `groups` is their number, images on their own included, `grouping` a hash of
    which images belong together, and `group` the regular expression that found them in the files' names, if one did.
    """

    name: str  # "mvtec", "folder", "twin" or "twin:seed=7"
    root: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""
    groups: int = 0
    grouping: str = ""
    group: str = ""


@validated
class Record:
    """One run.

    `settings` are those of the detector as plain values (see `plain`), None where they are not known; `weights` name
    the file, its SHA-256 and its source: "imagenet", "anomalib" or "nelson1425" (a published file, by its hash),
    "random", "formula", "shipped" or "file". `deviations` say where the recipe differs from what it follows.
    """

    recipe: Word
    category: Word
    seed: int
    data: DataFacts
    metrics: dict[str, float | None]
    n_train: int
    n_test: int
    weights: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    thresholds: dict[str, float | None] = field(default_factory=dict)
    per_defect: tuple[DefectRow, ...] = ()
    notes: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    threshold: Threshold | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float | None = None
    device: str = ""
    versions: dict[str, str | None] = field(default_factory=dict)
    commit: str | None = None

    @property
    def kind(self) -> str:
        """What the images were, "mvtec", "twin", "twin:seed=7" or "own".

        Rendered ones are marked; MVTec AD is known by its counts; the rest is one's own.
        """
        if self.data.name.startswith("twin"):
            return self.data.name if ":seed=" in self.data.name else "twin"
        known = published().get(self.category)
        counts = (self.n_train, self.n_test)
        return "mvtec" if known and counts == (known.images.train, known.images.test) else "own"

    def __str__(self) -> str:
        """Title, metrics, a row for each kind of defect, notes."""
        report = Report(self.metrics, self.thresholds, self.per_defect, self.notes, self.intervals)
        title = f"{self.category} x {self.recipe}, seed {self.seed}, data: {self.data.name}\n\n{report}"
        return "\n".join([title, *(f"differs: {deviation}" for deviation in self.deviations)])


def records(folders: Iterable[Path]) -> list[Record]:
    """All runs' records below these folders, oldest first."""
    paths: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"no folder of records {folder}")
        paths += files_below(folder, "*.json")
    read = map(read_record, sorted(paths, key=lambda path: path.stat().st_mtime))
    return [record for record in read if record is not None]


def files_below(folder: Path, pattern: str) -> list[Path]:
    """The files below a folder whose names match, sorted, without hidden folders: an unfinished run writes there."""
    paths = sorted(folder.rglob(pattern))
    return [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def read_record(path: Path) -> Record | None:
    """A run's record; None for other JSON files (benchmarks, cards)."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a readable record ({type(error).__name__}): remove it, or run again") from error
    if not isinstance(values, dict) or not {"recipe", "category", "metrics"} <= set(values):
        return None
    known = {entry.name for entry in fields(Record)}
    try:
        return from_plain(Record, {name: value for name, value in values.items() if name in known})
    except OptionError as error:
        raise DataError(f"{path} is not a readable record ({error}): remove it, or run again") from None


def plain(settings: Settings) -> dict[str, Any]:
    """All settings of a detector as they stand in a record and can be compared: JSON's types, no paths.

    A file of weights or of a region of interest is its name and hash, a penalty folder its name and fingerprint: the
    same file elsewhere is the same.
    """
    values: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    files = {name: _identity(values[name]) for name in ("weights", "penalty", "roi") if name in values}
    return values | files


def flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as pairs such as ("training.steps", 150)."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def fingerprint(category: Category) -> str:
    """A hash of the contents, names and labels of a category's images and masks: other images have another one.

    It has 32 digits. Those of earlier records have 16, saw names and sizes only, and equal no new one.
    """
    return contents_of(category)


def _identity(name: str) -> str:
    """A file or folder by its name and contents; any other word as it is."""
    path = Path(name).expanduser()
    if name in NAMED or not path.exists():
        return name
    if path.is_dir():  # its own time of change says nothing of what lies deeper
        folders = [path, *(folder for folder in sorted(path.rglob("*")) if folder.is_dir())]
        return f"{path.name}:{_hash_of_files(path, [image for folder in folders for image in images_in(folder)])}"
    status = path.stat()
    return f"{path.name}:{_hash_of_file(path.resolve(), status.st_mtime_ns, status.st_size)}"


@lru_cache(maxsize=64)
def _hash_of_file(path: Path, changed: int, size: int) -> str:
    return sha256(path)[:16]


def _hash_of_files(root: Path, paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path, content in zip(paths, content_hashes(paths), strict=True):
        digest.update(os.fsencode(path.relative_to(root)) + b"\0" + content.encode() + b"\n")
    return digest.hexdigest()[:16]
