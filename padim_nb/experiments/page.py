"""One HTML page of all runs below a folder, which loads nothing: tables, ROC curves, worst misses, links."""

from __future__ import annotations

import base64
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jinja2 import Environment

from ..data.images import image_batches, masks
from ..errors import DataError, PadimError
from ..evaluation.report import format_value
from ..plots import figures
from ..util.files import whole_file
from .compare import METRICS, comparison, differences
from .recipes import RECIPES
from .record import Record, files_below, read_record
from .showcase import Run, open_run, roc_sheet

NAME = "results.html"
WORST = 3  # defective images shown of each category
DATA = {"mvtec": "MVTec AD", "twin": "the twin", "own": "own images"}
TITLES = {"image_auroc": "Image AUROC", "pixel_auroc": "Pixel AUROC", "aupro": "AUPRO", "image_f1": "Image F1",
          "pixel_f1": "Pixel F1"}  # fmt: skip


def write_page(folder: Path, data: str = "") -> Path:
    """Write `results.html` into a folder of runs and return its path.

    A run without its maps, or whose images are elsewhere, is in the tables and not in the figures; the page says so.

    Args:
        folder: holds runs at any depth, as `padim-nb sweep` and `padim-nb run` leave them.
        data: the data root of the images; "" is where a run would find them.
    """
    tables = {TITLES[metric]: [line for line in comparison([folder], metric) if line.measured] for metric in METRICS}
    records = {path: record for path in files_below(folder, "record.json") if (record := read_record(path))}
    if not records:
        raise DataError(f"no finished run below {folder}: `padim-nb sweep` and `padim-nb run` leave records there")
    drawn, notes = _drawable(records, data)
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (files("padim_nb") / "assets" / NAME).read_text(encoding="utf-8")
    )
    text = page.render(
        folder=folder.absolute().name,
        tables={title: lines for title, lines in tables.items() if lines},
        runs=[(record, _links(path, folder)) for path, record in records.items()],
        failures=[
            (path.parent.relative_to(folder), path.read_text(encoding="utf-8"))
            for path in files_below(folder, "error.txt")
        ],
        curves={name: embedded(roc_sheet(runs)) for name, runs in drawn.items()},
        misses=[_misses(run) for runs in drawn.values() for run in runs],
        notes=notes,
        value=format_value,
        data=DATA,
    )
    with whole_file(folder / NAME) as scratch:
        scratch.write_text(text, encoding="utf-8")
    return folder / NAME


def _drawable(records: dict[Path, Record], data: str) -> tuple[dict[str, list[Run]], list[str]]:
    """For each recipe, kind of data and settings the first drawable run of each category; why others are not there."""
    drawn: dict[str, dict[str, Run]] = {}
    notes = []
    for path, record in records.items():
        words = (
            record.recipe,
            DATA.get(record.kind, record.kind),
            differences(record) if record.recipe in RECIPES else "",
        )
        others = drawn.setdefault(", ".join(filter(None, words)), {})
        if record.category not in others and record.metrics.get("pixel_auroc") is not None:
            try:
                others[record.category] = open_run(path, data)
            except PadimError as error:
                notes.append(str(error))
    return {name: list(runs.values()) for name, runs in drawn.items() if runs}, notes


def _misses(run: Run) -> dict[str, object]:
    """The defective images with the lowest scores, each above its map, and how many lie below the threshold."""
    scores, bad, limit = run.maps.scores, run.labels == 1, run.record.threshold
    lowest = np.flatnonzero(bad)[np.argsort(scores[bad])[:WORST]]
    samples = [run.category.test[number] for number in lowest]
    images = np.concatenate(list(image_batches(samples, run.frame, cache=False)))
    names = [f"{sample.defect.replace('_', ' ')} {sample.image.stem}" for sample in samples]
    tiles: list[figures.Tile] = list(zip(names, images, masks(samples, run.frame), strict=True))
    tiles += [(f"score {format_value(scores[number])}", run.maps[number], None) for number in lowest]
    return {
        "record": run.record,
        "below": None if limit is None else int((scores[bad] <= limit.value).sum()),
        "bad": int(bad.sum()),
        "above": None if limit is None else int((scores[~bad] > limit.value).sum()),
        "good": int((~bad).sum()),
        "names": ", ".join(names),
        "figure": embedded(figures.sheet(tiles, len(samples), 1.5, run.scale)),
    }


def embedded(figure: figures.Figure) -> str:
    """A figure as an address that holds its bytes."""
    content, kind = figures.encoded(figure)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _links(record: Path, folder: Path) -> dict[str, str]:
    """The addresses of a run's page and notebook, seen from `folder`, where they are there."""
    paths = {"page": record.with_name("run_category.html"), "notebook": record.with_name("run_category.ipynb")}
    return {name: quote(path.relative_to(folder).as_posix()) for name, path in paths.items() if path.is_file()}
