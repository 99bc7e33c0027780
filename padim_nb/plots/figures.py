"""Figures of the book and of a run: one palette, image panels without axes, masks as outlines."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

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


def show(figure: Figure, alt: str) -> None:
    """Display a figure in a notebook; `alt` is what a reader who cannot see it must know.

    Sheets of images are sent as JPEG, charts as PNG.
    """
    from IPython.display import Image, display

    kind = "jpeg" if mpl.colors.same_color(figure.get_facecolor(), DARK) else "png"
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, pil_kwargs={"quality": 88} if kind == "jpeg" else None)
    plt.close(figure)
    display(Image(data=buffer.getvalue(), format=kind, alt=alt))


def photo(axes: Axes, image: np.ndarray, title: str = "", outline: np.ndarray | None = None) -> None:
    """An image (height, width, 3) or (height, width) without axes, with a mask's outline where one is given."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    if outline is not None and outline.any():
        axes.contour(outline.astype(np.float32), levels=[0.5], colors=[OUTLINE], linewidths=1.0)
    axes.set_title(title, fontsize=8.5, pad=3)
    axes.set_axis_off()


def contact_sheet(category: Category, columns: int = 3) -> Figure:
    """A good part and one of each defect, each beside its mask."""
    tiles = [_first(category, defect) for defect in ("good", *_defects(category))]
    rows = -(-len(tiles) // columns)
    with style(sheet=True):
        figure, grid = _empty(rows, 2 * columns, (1.62 * 2 * columns, 1.86 * rows))
        for (left, right), sample in zip(grid.reshape(-1, 2), tiles, strict=False):
            image = load_image(sample.image)
            mask = load_mask(sample.mask) if sample.mask else np.zeros(image.shape[:2], dtype=bool)
            photo(left, image, sample.defect.replace("_", " "))
            photo(right, np.where(mask, 235, 40).astype(np.uint8), "mask")
        figure.subplots_adjust(0.008, 0.012, 0.992, 1 - 0.25 / (1.86 * rows), 0.04, 0.16)
    return figure


def gallery(categories: Sequence[Category], columns: int = 5) -> Figure:
    """One good part of each category beside a defective one, its mask outlined."""
    rows = -(-len(categories) // columns)
    with style(sheet=True):
        figure, grid = _empty(rows, 2 * columns, (1.3 * 2 * columns, 1.5 * rows))
        for (left, right), category in zip(grid.reshape(-1, 2), categories, strict=False):
            good, bad = _first(category, "good"), _first(category, _defects(category)[0])
            photo(left, load_image(good.image), category.name.replace("_", " "))
            outline = load_mask(bad.mask) if bad.mask else None
            photo(right, load_image(bad.image), bad.defect.replace("_", " "), outline)
        figure.subplots_adjust(0.006, 0.01, 0.994, 1 - 0.22 / (1.5 * rows), 0.04, 0.16)
    return figure


def strip(named: Mapping[str, np.ndarray], outline: np.ndarray | None = None) -> Figure:
    """Images side by side under their names; the mask's outline is drawn on all but the first."""
    with style(sheet=True):
        figure, grid = plt.subplots(1, len(named), figsize=(2.1 * len(named), 2.35), squeeze=False)
        for number, (axes, (name, image)) in enumerate(zip(grid[0], named.items(), strict=True)):
            photo(axes, image, name, outline if number else None)
        figure.subplots_adjust(0.01, 0.01, 0.99, 0.88, 0.04)
    return figure


def mosaic(images: Sequence[np.ndarray], names: Sequence[str] = (), columns: int = 8, side: float = 1.25) -> Figure:
    """Small images (height, width, 3) in rows, pixels as they are."""
    rows, head = -(-len(images) // columns), 0.22 if names else 0.0
    with style(sheet=True):
        figure, grid = _empty(rows, columns, (side * columns, (side + head) * rows))
        for number, (axes, image) in enumerate(zip(grid.flat, images, strict=False)):
            axes.imshow(image, interpolation="nearest")
            if names:
                axes.set_title(names[number], fontsize=8, pad=2)
        figure.subplots_adjust(0.006, 0.006, 0.994, 1 - (head + 0.02) / ((side + head) * rows), 0.04, 0.04 + head)
    return figure


def heats(named: Mapping[str, np.ndarray], columns: int = 6) -> Figure:
    """Maps (height, width), each on a scale of its own, under their names; images (height, width, 3) as they are."""
    rows = -(-len(named) // columns)
    with style(sheet=True):
        figure, grid = _empty(rows, columns, (1.7 * columns, 1.95 * rows))
        for axes, (name, map_) in zip(grid.flat, named.items(), strict=False):
            axes.imshow(map_, cmap=HEAT, interpolation="nearest")
            axes.set_title(name, fontsize=8.5, pad=3)
        figure.subplots_adjust(0.008, 0.012, 0.992, 1 - 0.25 / (1.95 * rows), 0.04, 0.16)
    return figure


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


def bars(named: Mapping[str, Sequence[float]], groups: Sequence[str], across: str) -> Figure:
    """Horizontal bars in groups: a group a line of `groups`, a color a name."""
    with style():
        figure, axes = plt.subplots(figsize=(6.4, 0.7 + 0.19 * len(groups) * len(named)), layout="constrained")
        high = 0.8 / len(named)
        for number, (name, values) in enumerate(named.items()):
            axes.barh(np.arange(len(groups)) + number * high, values, high * 0.92, label=name)
        axes.set_yticks(np.arange(len(groups)) + 0.4 - high / 2, groups)
        axes.invert_yaxis()
        axes.set_xlabel(across)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
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
    import seaborn

    rows = [
        (float(value), group, name)
        for name, entries in named.items()
        for group, entry in zip(groups, entries, strict=True)
        for value in np.atleast_1d(entry)
        if np.isfinite(value)
    ]
    values, places, hues = ([*column] for column in zip(*rows, strict=True))
    table = {across: values, "group": places, "name": hues}
    dodge = 0.17 * (len(named) - 1)
    with style():
        figure, axes = plt.subplots(figsize=(6.4, 0.9 + 0.27 * len(groups)), layout="constrained")
        lines = np.arange(len(groups))
        axes.hlines(lines, 0, 1, NEUTRAL, transform=axes.get_yaxis_transform(), lw=0.6, alpha=0.45, zorder=0)
        seaborn.pointplot(
            table, x=across, y="group", hue="name", order=groups, hue_order=list(named), errorbar="sd", ax=axes,
            dodge=dodge or False, linestyle="none", markersize=5, err_kws={"linewidth": 1.4}, legend=len(named) > 1,
            palette=_COLORS[: len(named)],
        )  # fmt: skip
        for number, (name, ends) in enumerate((intervals or {}).items()):
            drawn = [(place, *pair) for place, pair in enumerate(ends) if pair is not None]
            offset = dodge * (number / max(len(named) - 1, 1) - 0.5)
            for place, low, high in drawn:
                axes.plot([low, high], [place + offset] * 2, color=_COLORS[list(named).index(name)], lw=0.7)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set(xlabel=across, ylabel="")
        if (legend := axes.get_legend()) is not None:
            handles, labels = axes.get_legend_handles_labels()
            legend.remove()
            figure.legend(handles, labels, loc="outside upper center", ncols=len(named), handletextpad=0.2)
    return figure


def panels(samples: Sequence[Sample], maps: AnomalyMaps, threshold: float | None = None) -> Figure:
    """Images with the truth outlined, each beside its map; with a threshold, the pixels above it too.

    All maps have one color scale.
    """
    frame = maps.frame or Frame(resize=maps.shape[1:])
    shown = np.concatenate(list(image_batches(samples, frame, cache=False)))
    truth = masks(samples, frame) if all(s.mask or not s.label for s in samples) else np.zeros(maps.shape, dtype=bool)
    low, high = (float(q) for q in np.quantile(maps.maps, [0.02, 0.999]))
    width, across = (3, 1) if threshold is not None else (2, 2)
    rows, side = -(-len(samples) // across), 5.7 / (width * across)
    with style(sheet=True):
        figure, grid = _empty(rows, width * across, (6.3, (side + 0.22) * rows))
        for number, (sample, tile) in enumerate(zip(samples, grid.reshape(-1, width), strict=False)):
            photo(tile[0], shown[number], f"{sample.defect.replace('_', ' ')} {sample.image.stem}", truth[number])
            heat = tile[1].imshow(maps[number], cmap=HEAT, vmin=low, vmax=high)
            tile[1].set_title(f"highest {format_value(maps[number].max())}", fontsize=8.5, pad=3, loc="center")
            if threshold is not None:
                photo(tile[2], shown[number], "above the threshold", maps[number] >= threshold)
        figure.subplots_adjust(0.01, 0.01, 0.90, 1 - 0.25 / ((side + 0.22) * rows), 0.04, 0.14)
        bar = figure.colorbar(heat, ax=grid, cax=figure.add_axes((0.915, 0.08, 0.018, 0.84)))
        bar.ax.tick_params(colors="#e8eaed", labelsize=8)
    return figure


def score_chart(scores: np.ndarray, samples: Sequence[Sample], threshold: float | None = None) -> Figure:
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


def telling(samples: Sequence[Sample], scores: np.ndarray) -> list[int]:
    """Numbers of four samples: the highest, middle and lowest score of a defect, and the highest of a good part."""
    labels = np.array([sample.label for sample in samples], dtype=bool)
    bad, good = (own[np.argsort(-scores[own])] for own in (np.flatnonzero(labels), np.flatnonzero(~labels)))
    chosen = [*bad[[0, len(bad) // 2, -1]], *good[:1]] if bad.size else [*good[:4]]
    return [int(number) for number in dict.fromkeys(chosen)]


def _empty(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    """A grid without axes."""
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure, grid


def _defects(category: Category) -> list[str]:
    return list(dict.fromkeys(s.defect for s in category.test if s.label))


def _first(category: Category, defect: str) -> Sample:
    return next(s for s in (*category.test, *category.train) if s.defect == defect)
