"""Images that a CSV file lists: VisA's split, or your own with the columns image, split, label, mask, group."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..errors import CategoryNotFound, DataError, did_you_mean
from ..util.mvtec_counts import CATEGORIES
from .mvtec import Category, Sample, expect_same_size, has_mvtec_counts, source_of

VISA = Path("split_csv") / "1cls.csv"
COLUMNS = ("image", "split", "label")
GOOD = ("good", "normal", "ok", "0")


def table_of(root: Path) -> Path | None:
    """The CSV file of a root: the root itself, or VisA's split below it."""
    if root.is_file():
        return root
    return root / VISA if (root / VISA).is_file() else None


def names_in(table: Path) -> list[str]:
    """The categories of a table: what its column `object` says, else one with the file's name."""
    return list(dict.fromkeys(row.get("object", table.stem) for row in _rows(table)))


def read_table(table: Path, name: str) -> Category:
    """Read one category of a table.

    A row has the path of an image below the table's folder (VisA: below its root), its split, train or test, and its
    label: good, normal, ok or 0 for a good one, else the name of the defect. The path of its mask may follow, and the
    group of a good one: the part or the lot that it shows, where several images do. A table of several categories names
    each row's in the column `object`; a table without it takes any name but another category's of MVTec AD.
    """
    base = table.parents[1] if table.parts[-2:] == VISA.parts else table.parent
    rows = [row for row in _rows(table) if row.get("object", name) == name]
    if not rows:
        raise CategoryNotFound(f"no category {name!r} in {table}{did_you_mean(name, names_in(table))}")
    splits: dict[str, list[Sample]] = {"train": [], "test": []}
    try:
        for row in rows:
            if row["split"] not in splits:
                raise DataError(f"the split is train or test, not {row['split']!r}")
            splits[row["split"]].append(_sample(base, row))
    except DataError as error:
        raise DataError(f"{table}, line {row['line']}: {error}") from error
    if not splits["train"]:
        raise DataError(f"{table} lists no training images of {name}: give good ones the split train")
    category = Category(name, base, "folder", tuple(splits["train"]), tuple(splits["test"]))
    unnamed = "object" not in rows[0] and name != table.stem  # any name is right, unless it says that it is MVTec AD
    if unnamed and name in CATEGORIES and not has_mvtec_counts(category):
        raise CategoryNotFound(f"{table} lists other images than MVTec AD's {name!r}: give another name")
    return replace(category, source=source_of(category))


def _rows(table: Path) -> Iterator[dict[str, str]]:
    """The values by column of each row, and its line; what is missing in a row is empty."""
    try:
        with open(table, encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restkey="", restval="")
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
                raise DataError(
                    f"{table} has no column {missing[0]!r}: it needs {', '.join(COLUMNS)}, and may have mask and group"
                )
            for row in reader:
                yield {key: value.strip() for key, value in row.items() if key} | {"line": str(reader.line_num)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} is not a readable CSV file ({error}): save it as comma-separated UTF-8") from error


def _sample(base: Path, row: dict[str, str]) -> Sample:
    image, mask = base / row["image"], base / row["mask"] if row.get("mask") else None
    defective = row["label"].lower() not in GOOD
    if not row["image"] or not image.is_file():
        raise DataError(f"no image {image}: give its path below {base}")
    if not row["label"]:
        raise DataError(f"{image} has no label: write good, or the name of its defect")
    if not defective:
        return Sample(image, 0, "good", group=row.get("group", ""))
    if row["split"] == "train":
        raise DataError(f"{image} is {row['label']!r}, and only good images are learned from: give it the split test")
    if mask:
        expect_same_size(mask, image)
    return Sample(image, 1, row["label"], mask)
