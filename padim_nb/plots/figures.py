"""Figures of the book and of a run: one palette, image panels without axes, masks as outlines."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..data.images import Frame, image_batches, load_image, load_mask, masks
from ..data.maps import AnomalyMaps
from ..data.mvtec import Category, Sample
from ..evaluation.report import format_value
from ..util.files import whole_file

Array = np.ndarray
Tile: TypeAlias = tuple[str, Array, "Array | None"]  # title, image, mask to outline
Scale: TypeAlias = tuple["float | None", "float | None"]
OWN_SCALE: Scale = (None, None)  # of a map whose colors run from its lowest to its highest value

# Okabe and Ito's colors: distinct with any kind of color vision, legible on white and on dark ground.
GOOD, DEFECTIVE, NEUTRAL, EXTRA = "#0072b2", "#d55e00", "#7f7f7f", "#009e73"
OUTLINE = "#00e5ff"  # stands off both photographs and the map's colors
HEAT = "inferno"  # perceptually even
DARK = "#15181e"  # ground of image sheets: fits a light and a dark page

_COLORS = [GOOD, DEFECTIVE, EXTRA, "#cc79a7", "#e69f00", "#56b4e9"]
_PAPER: dict[Any, Any] = {
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "axes.prop_cycle": cycler(color=_COLORS),
}
_SHEET = _PAPER | {
    "figure.facecolor": DARK,
    "savefig.facecolor": DARK,
    "axes.facecolor": DARK,
    "text.color": "#e8eaed",
    "axes.titlecolor": "#e8eaed",
    "axes.titleweight": "normal",
}


@contextmanager
def style(sheet: bool = False) -> Iterator[None]:
    """The book's style for charts, or (`sheet`) for rows of images on dark ground."""
    with mpl.rc_context(_SHEET if sheet else _PAPER):
        yield


def encoded(figure: Figure) -> tuple[bytes, str]:
    """The bytes of a figure and their format: JPEG for sheets of images, PNG for charts; closes the figure."""
    kind = "jpeg" if mpl.colors.same_color(figure.get_facecolor(), DARK) else "png"
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, pil_kwargs={"quality": 88} if kind == "jpeg" else None)
    plt.close(figure)
    return buffer.getvalue(), kind


def show(figure: Figure, alt: str) -> None:
    """Display a figure in a notebook; `alt` is what a reader who cannot see it must know."""
    from IPython.display import Image, display

    content, kind = encoded(figure)
    display(Image(data=content, format=kind, alt=alt))


def save(figure: Figure, path: Path, **options: Any) -> Path:
    """Write a figure to a file, whole or not at all, and close it; `options` are those of `Figure.savefig`."""
    with whole_file(path) as scratch:
        figure.savefig(scratch, **options)
    plt.close(figure)
    return path


def photo(axes: Axes, image: Array, title: str = "", outline: Array | None = None, scale: Scale = OWN_SCALE) -> None:
    """One tile without axes: an image, a mask or a map.

    Args:
        axes: where it is drawn.
        image: (height, width, 3), or (height, width): bool is drawn as a mask, integers in gray, floats in the colors
            of a map.
        title: above the tile.
        outline: a mask (height, width) whose outline is drawn over the image.
        scale: the lowest and the highest value of a map's colors; its own where they are None.
    """
    if image.dtype == bool:
        image = np.where(image, 235, 40)
    gray = image.dtype.kind in "iu"
    low, high = (0, 255) if gray else scale
    axes.imshow(image, cmap="gray" if gray else HEAT, vmin=low, vmax=high)
    if outline is not None and outline.any():
        axes.contour(outline.astype(np.float32), levels=[0.5], colors=[OUTLINE], linewidths=1.0)
    axes.set_title(title, fontsize=8.5, pad=3)
    axes.set_axis_off()


def sheet(tiles: Sequence[Tile], columns: int, side: float = 1.7, scale: Scale = OWN_SCALE) -> Figure:
    """Tiles in rows, each with its title, its array and perhaps a mask to outline: see `photo`.

    Args:
        tiles: (title, array, outline or None).
        columns: tiles a row.
        side: of a tile, in inches.
        scale: of the colors of all maps; each its own where it is not given.
    """
    head = 0.25 if any(title for title, _, _ in tiles) else 0.0
    rows = -(-len(tiles) // columns)
    height = (side + head) * rows
    with style(sheet=True):
        figure, grid = plt.subplots(rows, columns, figsize=(side * columns, height), squeeze=False)
        for axes in grid.flat[len(tiles) :]:
            axes.set_axis_off()
        for axes, (title, array, outline) in zip(grid.flat, tiles, strict=False):
            photo(axes, array, title, outline, scale)
        figure.subplots_adjust(0.006, 0.01, 0.994, 1 - (head + 0.02) / height, 0.04, 0.04 + head / side)
    return figure


def contact_sheet(category: Category, columns: int = 3) -> Figure:
    """A good part and one of each defect, each beside its mask."""
    tiles: list[Tile] = []
    for sample in first_of_each(category):
        image = load_image(sample.image)
        mask = load_mask(sample.mask) if sample.mask else np.zeros(image.shape[:2], dtype=bool)
        tiles += [(sample.defect.replace("_", " "), image, None), ("mask", mask, None)]
    return sheet(tiles, 2 * columns, 1.62)


def strip(named: Mapping[str, Array], outline: Array | None = None) -> Figure:
    """Images side by side under their names; the mask's outline is drawn on all but the first."""
    tiles = [(name, image, outline if number else None) for number, (name, image) in enumerate(named.items())]
    return sheet(tiles, len(tiles), 2.1)


def mosaic(images: Sequence[Array], names: Sequence[str] = (), columns: int = 8, side: float = 1.25) -> Figure:
    """Small images (height, width, 3) in rows, with their names where these are given."""
    titles = names or [""] * len(images)
    return sheet([(title, image, None) for title, image in zip(titles, images, strict=True)], columns, side)


def heats(named: Mapping[str, Array], columns: int = 6) -> Figure:
    """Maps (height, width), each on a scale of its own, under their names; images (height, width, 3) as they are."""
    tiles = [(name, map_ if map_.ndim == 3 else map_.astype(float), None) for name, map_ in named.items()]
    return sheet(tiles, columns)


def curve(named: Mapping[str, tuple[Sequence[float], Sequence[float]]], across: str, up: str) -> Figure:
    """Lines (x, y) under their names."""
    with style():
        figure, axes = plt.subplots(figsize=(6.4, 2.8), layout="constrained")
        for name, (x, y) in named.items():
            axes.plot(x, y, label=name, lw=1.6)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        if len(named) > 1:
            axes.legend()
    return figure


def dots(
    named: Mapping[str, Sequence[float | Sequence[float]]],
    groups: Sequence[str],
    across: str,
    intervals: Mapping[str, Sequence[tuple[float, float] | None]] | None = None,
) -> Figure:
    """A line a group, a dot a name: for results, which do not start at 0.

    Args:
        named: for each name one entry a group: a value, or the values of several seeds, drawn as their mean with a bar
            of one standard deviation. NaN and empty entries are left out.
        groups: what the lines are called, from the top.
        across: label of the value axis.
        intervals: for each name one (low, high) a group, such as a bootstrap interval over images: thin lines.
    """
    with style():
        figure, axes = plt.subplots(figsize=(6.4, 0.9 + 0.27 * len(groups)), layout="constrained")
        axes.grid(axis="y", color=NEUTRAL, lw=0.6, alpha=0.45)
        for number, (name, entries) in enumerate(named.items()):
            seeds = [values[np.isfinite(values)] for values in map(np.atleast_1d, entries)]
            measured = [place for place, values in enumerate(seeds) if values.size]
            means = [seeds[place].mean() for place in measured]
            spreads = [seeds[place].std(ddof=1) if seeds[place].size > 1 else 0.0 for place in measured]
            lines = np.arange(len(groups)) + 0.17 * (number - (len(named) - 1) / 2)
            drawn = axes.errorbar(means, lines[measured], xerr=spreads, fmt="o", markersize=5, label=name)
            for line, ends in zip(lines, (intervals or {}).get(name, ()), strict=False):
                if ends is not None:
                    axes.plot(ends, [line, line], color=drawn.lines[0].get_color(), lw=0.7)
        axes.set_yticks(range(len(groups)), groups)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set(xlabel=across, ylim=(len(groups) - 0.5, -0.5))
        if len(named) > 1:
            widths = [0.5 + 0.08 * len(name) for name in named]  # of an entry in inches, generously
            columns = len(named) if sum(widths) <= figure.get_figwidth() else int(figure.get_figwidth() / max(widths))
            figure.legend(loc="outside upper center", ncols=max(1, columns), handletextpad=0.2)
    return figure


def panels(
    samples: Sequence[Sample], maps: AnomalyMaps, threshold: float | None = None, high: float | None = None
) -> Figure:
    """Images with the truth outlined, each beside its map; with a threshold, the pixels above it too.

    Args:
        samples: one a row with a threshold, else two.
        maps: theirs, all on one color scale.
        threshold: also marked on the color bar.
        high: where the color scale ends; the 0.999 quantile of all maps where it is not given.
    """
    frame = maps.frame or Frame(resize=maps.shape[1:])
    shown = np.concatenate(list(image_batches(samples, frame, cache=False)))
    truth = masks(samples, frame) if all(s.mask or not s.label for s in samples) else np.zeros(maps.shape, dtype=bool)
    low, most = (float(q) for q in np.quantile(maps.maps, [0.02, 0.999]))
    high = most if high is None else high
    width, across = (3, 1) if threshold is not None else (2, 2)
    rows, side = -(-len(samples) // across), 5.7 / (width * across)
    with style(sheet=True):
        figure, grid = plt.subplots(rows, width * across, figsize=(6.3, (side + 0.22) * rows), squeeze=False)
        for axes in grid.flat[width * len(samples) :]:
            axes.set_axis_off()
        for number, (sample, tile) in enumerate(zip(samples, grid.reshape(-1, width), strict=False)):
            photo(tile[0], shown[number], f"{sample.defect.replace('_', ' ')} {sample.image.stem}", truth[number])
            photo(tile[1], maps[number], f"highest {format_value(maps[number].max())}", scale=(low, high))
            if threshold is not None:
                photo(tile[2], shown[number], "above the threshold", maps[number] >= threshold)
        figure.subplots_adjust(0.01, 0.01, 0.90, 1 - 0.25 / ((side + 0.22) * rows), 0.04, 0.14)
        extend = "max" if maps.maps.max() > high else "neither"
        bar = figure.colorbar(
            grid[0, 1].images[0], ax=grid, cax=figure.add_axes((0.915, 0.08, 0.018, 0.84)), extend=extend
        )
        bar.ax.set_title("score", fontsize=8)
        if threshold is not None:
            bar.ax.axhline(threshold, color=OUTLINE)
        bar.ax.tick_params(colors="#e8eaed", labelsize=8)
    return figure


def score_chart(scores: Array, samples: Sequence[Sample], threshold: float | None = None) -> Figure:
    """Image scores as dots, a row a defect type, good ones at the top."""
    kinds = ["good", *dict.fromkeys(s.defect for s in samples if s.label)]
    with style():
        figure, axes = plt.subplots(figsize=(6.4, 0.9 + 0.34 * len(kinds)), layout="constrained")
        for row, kind in enumerate(kinds):
            own = np.array([score for score, s in zip(scores, samples, strict=True) if s.defect == kind])
            spread = (np.arange(own.size) * 0.618034) % 1.0 * 0.5 - 0.25  # a fixed, even scatter
            axes.scatter(own, row + spread, s=16, color=GOOD if kind == "good" else DEFECTIVE, alpha=0.75, lw=0)
        if threshold is not None:
            axes.axvline(threshold, color=NEUTRAL, lw=1.2, ls="--")
            axes.text(threshold, -0.75, " threshold", color=NEUTRAL, fontsize=8, va="bottom")
        axes.set_yticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds])
        axes.set_ylim(len(kinds) - 0.4, -0.8)
        axes.set_xlabel("image score (largest distance in the map)")
    return figure


def telling(samples: Sequence[Sample], scores: Array) -> list[int]:
    """Numbers of four samples: the highest, middle and lowest score of a defect, and the highest of a good part."""
    labels = np.array([sample.label for sample in samples], dtype=bool)
    bad, good = (own[np.argsort(-scores[own])] for own in (np.flatnonzero(labels), np.flatnonzero(~labels)))
    chosen = [*bad[[0, len(bad) // 2, -1]], *good[:1]] if bad.size else [*good[:4]]
    return [int(number) for number in dict.fromkeys(chosen)]


def first_of_each(category: Category) -> list[Sample]:
    """The first good part, a training image where none is tested, and the first of each kind of defect."""
    first: dict[str, Sample] = {}
    for sample in (*category.test, *category.train):
        first.setdefault(sample.defect, sample)
    return [first.pop("good"), *first.values()]
