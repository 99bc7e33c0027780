"""Figures of finished runs: ROC curves of all classes, precision over recall, five panels, an animated demo."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ..data.images import Frame, image_batches, masks
from ..data.maps import AnomalyMaps
from ..data.mvtec import Category, load_category
from ..errors import DataError
from ..evaluation.metrics import auroc, best_f1, precision_recall, roc_curve
from ..evaluation.report import format_value
from ..plots import figures
from ..util.files import ensure_dir, whole_file
from ..util.validation import from_plain
from .recipes import RECIPES, size_in_words
from .record import Record, files_below, fingerprint, read_record

SIDE, GAP, PAUSE = 256, 6, 900  # of a demo: longer side of its images and space around them in pixels, milliseconds


@dataclass
class Run:
    """One finished run: its record, its maps, and the images they belong to."""

    record: Record
    maps: AnomalyMaps
    category: Category

    @property
    def frame(self) -> Frame:
        """How the images were resized and cropped."""
        return self.maps.frame or _frame_of(self.record)

    @property
    def title(self) -> str:
        """The recipe, and the size of the images where it is not the recipe's own."""
        own = _frame_of(self.record) == RECIPES[self.record.recipe].settings.frame
        return self.record.recipe + ("" if own else f"-size{size_in_words(self.maps.shape[1:])}")

    @cached_property
    def images(self) -> np.ndarray:
        """The test images in the maps' frame, uint8 (n, height, width, 3)."""
        return np.concatenate(list(image_batches(self.category.test, self.frame)))

    @cached_property
    def truth(self) -> np.ndarray:
        """bool (n, height, width)."""
        return masks(self.category.test, self.frame)

    @property
    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores and truth of all pixels that are judged."""
        return self.maps.judged(self.maps.maps).ravel(), self.maps.judged(self.truth).ravel()

    @cached_property
    def labels(self) -> np.ndarray:
        """(n,), 1 for defective."""
        return np.array([sample.label for sample in self.category.test])

    @cached_property
    def scale(self) -> tuple[float, float]:
        """Lowest and highest value of the color scale: one for all images, so that they can be compared."""
        low, high = (float(q) for q in np.quantile(self.maps.judged(self.maps.maps), [0.02, 0.999]))
        return low, max(high, low + 1e-9)


def finished(folders: Iterable[Path], data: str = "") -> list[Run]:
    """All finished runs below these folders."""
    runs: list[Run] = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"no folder of runs {folder}")
        runs += [open_run(path, data) for path in files_below(folder, "record.json")]
    if not runs:
        raise DataError("no finished run here: a run's folder holds record.json and maps.safetensors")
    return runs


def showcase(runs: Sequence[Run], out: Path, log: Callable[[Path], None] = lambda path: None) -> None:
    """Write all figures: one ROC sheet a recipe and size; a curve, four five-panel rows and a demo a run."""
    ensure_dir(out)
    for title in dict.fromkeys(run.title for run in runs):
        sheet = roc_sheet([run for run in runs if run.title == title])
        log(figures.save(sheet, out / f"roc-{title}.png"))
    for run in runs:
        stem = f"{run.category.name}-{run.title}-seed{run.record.seed}"
        log(figures.save(precision_chart(run), out / f"precision-{stem}.png"))
        log(figures.save(five_panels(run), out / f"panels-{stem}.png"))
        log(demo(run, out / f"demo-{stem}.gif"))


def roc_sheet(runs: Sequence[Run]) -> Figure:
    """ROC curves of all classes, of images on the left and of pixels on the right."""
    colors = mpl.colormaps["viridis"](np.linspace(0, 0.95, len(runs)))
    with figures.style():
        figure, both = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
        for axes, title in zip(both, ("images", "pixels"), strict=True):
            axes.plot([0, 1], [0, 1], color=figures.NEUTRAL, lw=0.8, ls=":")
            axes.set(xlabel="false-positive rate", ylabel="true-positive rate", title=title)
        for run, color in zip(runs, colors, strict=True):
            pairs = ((run.maps.scores, run.labels), run.pixels)
            for axes, (scores, labels) in zip(both, pairs, strict=True):
                label = f"{run.category.name} {auroc(scores, labels):.3f}"
                axes.plot(*roc_curve(scores, labels), color=color, lw=1.3, label=label)
        for axes in both:
            axes.legend(fontsize=7.5, loc="lower right")
    return figure


def precision_chart(run: Run) -> Figure:
    """Precision over recall of the images, and the point of the largest F1."""
    scores = run.maps.scores
    f1, threshold = best_f1(scores, run.labels)
    chosen = scores >= threshold
    hit = (chosen & (run.labels == 1)).sum()
    with figures.style():
        figure, axes = plt.subplots(figsize=(4.6, 3.6), layout="constrained")
        axes.plot(*precision_recall(scores, run.labels), lw=1.6, drawstyle="steps-pre")
        axes.scatter(hit / run.labels.sum(), hit / chosen.sum(), color=figures.DEFECTIVE, zorder=3)
        axes.set(xlabel="recall: share of defects detected", ylabel="precision", ylim=(0, 1.04), xlim=(0, 1.02))
        axes.set_title(f"{run.category.name}: F1 {f1:.3f} at {format_value(threshold)}")
    return figure


def five_panels(run: Run) -> Figure:
    """Four telling images, a row each: image, truth, map, pixels above the threshold, their outline."""
    threshold = run.record.threshold
    limit = threshold.value if threshold else best_f1(*run.pixels)[1]
    tiles: list[figures.Tile] = []
    for number in figures.telling(run.category.test, run.maps.scores):
        sample, image, map_ = run.category.test[number], run.images[number], run.maps[number]
        above = map_ >= limit
        tiles += [
            (f"{sample.defect.replace('_', ' ')} {sample.image.stem}", image, None),
            ("truth", run.truth[number], None),
            (f"map, highest {format_value(float(map_.max()))}", map_, None),
            (f"above {format_value(limit)}", above, None),
            ("outlined", image, above),
        ]
    return figures.sheet(tiles, 5, 2.04, run.scale)


def demo(run: Run, path: Path, most: int = 24) -> Path:
    """An animation: each test image beside its map, both laid over each other, and the truth."""
    defects = dict.fromkeys(sample.defect for sample in run.category.test)
    groups = [[i for i, s in enumerate(run.category.test) if s.defect == defect] for defect in defects]
    in_turn = [number for row in zip_longest(*groups) for number in row if number is not None]
    first, *others = [_demo_frame(run, number) for number in sorted(in_turn[:most])]
    with whole_file(path) as scratch:
        first.save(scratch, "GIF", save_all=True, append_images=others, duration=PAUSE, loop=0, optimize=True)
    return path


def _demo_frame(run: Run, number: int) -> Image.Image:
    low, high = run.scale
    share = np.clip((run.maps[number] - low) / (high - low), 0, 1)
    heat = mpl.colormaps[figures.HEAT](share)[..., :3] * 255
    image = run.images[number].astype(np.float32)
    over = image + (heat - image) * (0.75 * share[..., None])
    truth = np.repeat(np.where(run.truth[number], 235, 40)[..., None], 3, axis=-1)
    height, width = (round(SIDE * side / max(truth.shape[:2])) for side in truth.shape[:2])
    sheet = Image.new("RGB", (4 * (width + GAP) + GAP, height + 2 * GAP), figures.DARK)
    for column, tile in enumerate((image, heat, over, truth)):
        resized = Image.fromarray(tile.clip(0, 255).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)
        sheet.paste(resized, (GAP + column * (width + GAP), GAP))
    return sheet.quantize(128, dither=Image.Dither.NONE)


def open_run(path: Path, data: str = "") -> Run:
    """The run whose record lies at `path`; `DataError` where its maps or its images are not there."""
    folder, record = path.parent, read_record(path)
    if record is None:
        raise DataError(f"{path} is not a readable record: remove it, or run again")
    if record.recipe not in RECIPES:
        raise DataError(f"{path} names a recipe this version does not know: {record.recipe}")
    if not (folder / "maps.safetensors").is_file():
        raise DataError(f"{folder} has no maps.safetensors: run it again")
    source = record.data.name
    category = load_category(record.category, data or (source if source.startswith("twin") else None))
    maps = AnomalyMaps.load(folder / "maps.safetensors", _frame_of(record))
    if record.settings and record.settings.get("maps") == "original":
        maps = replace(maps, frame=Frame(maps.shape[1:]))
    other = record.data.fingerprint not in ("", fingerprint(category))
    if other or len(maps) != len(category.test) or record.n_test != len(category.test):
        raise DataError(f"{folder} was run on other images than {category.root} holds: say which with --data")
    return Run(record, maps, category)


def _frame_of(record: Record) -> Frame:
    if record.settings is None:
        return RECIPES[record.recipe].settings.frame
    return from_plain(Frame, record.settings.get("frame"))
