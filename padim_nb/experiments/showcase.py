"""Finished runs as pictures: ROC curves of all classes, precision over recall, five panels, an animated demo."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
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
from ..plots.figures import DARK, DEFECTIVE, GOOD, HEAT, NEUTRAL, photo, style, telling
from ..util.files import ensure_dir, whole_file
from .recipes import RECIPES

POINTS = 400  # of a curve that is drawn: a pixel ROC has a hundred thousand
SIDE, PAUSE = 256, 900  # of a demo's pictures, in pixels; of each, in milliseconds


@dataclass
class Run:
    """One finished run: its record, its maps, and the images they belong to."""

    folder: Path
    record: dict
    maps: AnomalyMaps
    category: Category

    @property
    def name(self) -> str:
        return self.category.name

    @cached_property
    def frame(self) -> Frame:
        return RECIPES[self.record["recipe"]].settings.frame

    @cached_property
    def shown(self) -> np.ndarray:
        """The test pictures in the maps' frame."""
        return np.concatenate(list(image_batches(self.category.test, self.frame)))

    @cached_property
    def truth(self) -> np.ndarray:
        return masks(self.category.test, self.frame)

    @cached_property
    def labels(self) -> np.ndarray:
        return np.array([sample.label for sample in self.category.test])

    @property
    def threshold(self) -> float | None:
        return (self.record["threshold"] or {}).get("value")

    @cached_property
    def scale(self) -> tuple[float, float]:
        """Lowest and highest value of all its pictures' colours: one fixed scale, so that pictures can be compared."""
        low, high = (float(q) for q in np.quantile(self.maps.maps, [0.02, 0.999]))
        return low, max(high, low + 1e-9)


def finished(folders: Iterable[Path], data: str = "") -> list[Run]:
    """All finished runs below these folders."""
    runs = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"no folder of runs {folder}")
        runs += [_run(path, data) for path in sorted(folder.rglob("record.json"))]
    if not runs:
        raise DataError("no finished run here: a run's folder holds record.json and maps.safetensors")
    return runs


def showcase(runs: Sequence[Run], out: Path, tell: Callable[[Path], None] = lambda path: None) -> None:
    """Write all pictures: one ROC sheet a recipe; a curve, four five-panel rows and a demo a run."""
    ensure_dir(out)
    for recipe in dict.fromkeys(run.record["recipe"] for run in runs):
        mine = [run for run in runs if run.record["recipe"] == recipe]
        tell(_save(roc_sheet(mine), out / f"roc-{recipe}.png"))
    for run in runs:
        stem = f"{run.name}-{run.record['recipe']}-seed{run.record['seed']}"
        tell(_save(precision_chart(run), out / f"precision-{stem}.png"))
        tell(_save(five_panels(run), out / f"panels-{stem}.png"))
        tell(demo(run, out / f"demo-{stem}.gif"))


def roc_sheet(runs: Sequence[Run]) -> Figure:
    """ROC curves of all classes, of images on the left and of pixels on the right."""
    with style():
        figure, both = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
        for axes, title in zip(both, ("images", "pixels"), strict=True):
            axes.plot([0, 1], [0, 1], color=NEUTRAL, lw=0.8, ls=":")
            axes.set(xlabel="share of good ones called defective", ylabel="share of defects found", title=title)
        colours = mpl.colormaps["viridis"](np.linspace(0, 0.95, len(runs)))
        for run, colour in zip(runs, colours, strict=True):
            pairs = ((run.maps.scores, run.labels), (run.maps.maps.ravel(), run.truth.ravel()))
            for axes, (scores, labels) in zip(both, pairs, strict=True):
                x, y = _thinned(*roc_curve(scores, labels))
                axes.plot(
                    x, y, color=colour, lw=1.3, drawstyle="steps-post", label=f"{run.name} {auroc(scores, labels):.3f}"
                )
        for axes in both:
            axes.legend(fontsize=7.5, loc="lower right")
    return figure


def precision_chart(run: Run) -> Figure:
    """Precision over recall of the images, and the point of the largest F1."""
    scores = run.maps.scores
    recall, precision = precision_recall(scores, run.labels)
    f1, threshold = best_f1(scores, run.labels)
    chosen = scores >= threshold
    hit = (chosen & (run.labels == 1)).sum()
    with style():
        figure, axes = plt.subplots(figsize=(4.6, 3.6), layout="constrained")
        axes.plot(recall, precision, color=GOOD, lw=1.6, drawstyle="steps-pre")
        axes.scatter(hit / run.labels.sum(), hit / chosen.sum(), color=DEFECTIVE, zorder=3)
        axes.set(xlabel="recall: share of defects found", ylabel="precision", ylim=(0, 1.04), xlim=(0, 1.02))
        axes.set_title(f"{run.name}: F1 {f1:.3f} at {threshold:.3g}")
    return figure


def five_panels(run: Run) -> Figure:
    """Four telling pictures, a row each: picture, truth, map, what the threshold finds, its outline."""
    chosen = telling(run.category.test, run.maps.scores)
    low, high = run.scale
    limit = run.threshold
    if limit is None:
        limit = best_f1(run.maps.maps.ravel(), run.truth.ravel())[1]
    with style(sheet=True):
        figure, grid = plt.subplots(len(chosen), 5, figsize=(10.2, 2.2 * len(chosen)), squeeze=False)
        for row, number in zip(grid, chosen, strict=True):
            sample, map_, truth = run.category.test[number], run.maps[number], run.truth[number]
            found = map_ >= limit
            photo(row[0], run.shown[number], f"{sample.defect.replace('_', ' ')} {sample.image.stem}")
            photo(row[1], np.where(truth, 235, 40).astype(np.uint8), "truth")
            row[2].imshow(map_, cmap=HEAT, vmin=low, vmax=high)
            row[2].set_title(f"map, highest {float(map_.max()):.3g}", fontsize=8.5, pad=3)
            row[2].set_axis_off()
            photo(row[3], np.where(found, 235, 40).astype(np.uint8), f"above {limit:.3g}")
            photo(row[4], run.shown[number], "outlined", found)
        figure.subplots_adjust(0.008, 0.012, 0.992, 1 - 0.25 / (2.2 * len(chosen)), 0.04, 0.14)
    return figure


def demo(run: Run, path: Path, most: int = 24) -> Path:
    """An animated picture: each test picture beside its map, both laid over each other, and the truth."""
    kinds = list(dict.fromkeys(sample.defect for sample in run.category.test))
    each = [[i for i, s in enumerate(run.category.test) if s.defect == kind] for kind in kinds]
    turns = [group[k] for k in range(max(map(len, each))) for group in each if k < len(group)]
    frames = [_frame(run, number) for number in sorted(turns[:most])]
    with whole_file(path) as scratch:
        frames[0].save(
            scratch, format="GIF", save_all=True, append_images=frames[1:], duration=PAUSE, loop=0, optimize=True
        )
    return path


def _frame(run: Run, number: int) -> Image.Image:
    low, high = run.scale
    share = np.clip((run.maps[number] - low) / (high - low), 0, 1)
    heat = mpl.colormaps[HEAT](share)[..., :3] * 255
    picture = run.shown[number].astype(np.float32)
    over = picture + (heat - picture) * (0.75 * share[..., None])
    truth = np.repeat(np.where(run.truth[number], 235, 40)[..., None], 3, axis=-1)
    tiles = [Image.fromarray(np.asarray(tile).clip(0, 255).astype(np.uint8)) for tile in (picture, heat, over, truth)]
    sheet = Image.new("RGB", (4 * SIDE + 5 * 6, SIDE + 12), DARK)
    for column, tile in enumerate(tiles):
        sheet.paste(tile.resize((SIDE, SIDE), Image.Resampling.BILINEAR), (6 + column * (SIDE + 6), 6))
    return sheet.quantize(128, dither=Image.Dither.NONE)


def _run(path: Path, data: str) -> Run:
    folder = path.parent
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        name, recipe, source = record["category"], record["recipe"], record["data"]["name"]
        counts = (record["n_train"], record["n_test"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a readable record ({type(error).__name__}): run it again") from error
    if recipe not in RECIPES:
        raise DataError(f"{path} names a recipe this version does not know: {recipe}")
    if not (folder / "maps.safetensors").is_file():
        raise DataError(f"{folder} has no maps.safetensors: run it again")
    category = load_category(name, data or (source if source.startswith("twin") else None))
    maps = AnomalyMaps.load(folder / "maps.safetensors", RECIPES[recipe].settings.frame)
    if len(maps) != len(category.test) or counts[1] != len(category.test):
        raise DataError(f"{folder} was run on other images than {category.root} holds: say which with --data")
    return Run(folder, record, maps, category)


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(x) <= POINTS:
        return x, y
    kept = np.unique(np.r_[0, np.searchsorted(x + y, np.linspace(0, 2, POINTS)).clip(max=len(x) - 1), len(x) - 1])
    return x[kept], y[kept]


def _save(figure: Figure, path: Path) -> Path:
    with whole_file(path) as scratch:
        figure.savefig(scratch, format="png")
    plt.close(figure)
    return path
