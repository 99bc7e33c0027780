"""`evaluate(maps, samples) -> Report`: every metric of a category, and a row for each kind of defect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..data.images import Frame, annotated_regions, masks, share_cut_off
from ..data.maps import AnomalyMaps
from ..data.mvtec import Sample
from ..errors import DataError, OptionError, expect_one_of
from .intervals import LEVEL, Statistic, draws, image_auroc, interval, pixel_statistics
from .metrics import Ranks, Regions, aupimo, overlap, rank_pixels, saturated_overlap

Array = np.ndarray
IMAGE = ("image_auroc", "image_ap", "image_f1max")
PIXEL = ("pixel_auroc", "pixel_ap", "pixel_f1max", "aupro", "aupro_05", "aupimo")
LIMITS = {"aupro": 0.3, "aupro_05": 0.05}
SATURATED = {"auspro": 0.3, "auspro_05": 0.05}  # reported only where there is a defects_config.json


@dataclass(frozen=True)
class DefectRow:
    """One kind of defect against all good images (image AUROC) and all normal pixels (pixel AUROC, AUPRO).

    `worst` is the image of this kind with the lowest score.
    """

    defect: str
    n: int
    image_auroc: float | None
    pixel_auroc: float | None
    aupro: float | None
    worst: str


@dataclass(frozen=True)
class Report:
    """The metrics of one category. What cannot be computed is None, and `notes` says why.

    `intervals` hold (low, high) of a 95 % bootstrap interval over images, for the metrics that have one; `draws` their
    values on each drawn test set, for `paired`. `images` are what was judged, in order.
    """

    metrics: Mapping[str, float | None]
    thresholds: Mapping[str, float | None]
    per_defect: tuple[DefectRow, ...]
    notes: tuple[str, ...] = ()
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    images: tuple[Path, ...] = field(default=(), repr=False)
    draws: Mapping[str, Array] = field(default_factory=dict, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, as they stand in record.json."""
        return {
            "metrics": dict(self.metrics),
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "thresholds": dict(self.thresholds),
            "per_defect": [asdict(row) for row in self.per_defect],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        lines = ["metric         value"]
        for name, value in self.metrics.items():
            ends = self.intervals.get(name)
            lines.append(f"{name:<13}  {_digits(value)}" + (f"  [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else ""))
        if self.intervals:
            lines.append("in brackets: 95 % bootstrap interval over images")
        if self.per_defect:
            lines += ["", f"{'defect':<22} {'n':>3}  image AUROC  pixel AUROC   AUPRO"]
            for row in self.per_defect:
                values = f"{_digits(row.image_auroc):>11}  {_digits(row.pixel_auroc):>11}  {_digits(row.aupro):>6}"
                lines.append(f"{row.defect:<22} {row.n:>3}  {values}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def format_value(value: float | None) -> str:
    """A threshold or score with three significant digits, such as 0.0840, 38.8 or 1234; "-" for None."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def evaluate(maps: AnomalyMaps | Array, samples: Sequence[Sample], scores: Array | None = None) -> Report:
    """Judge the anomaly maps of n samples.

    Args:
        maps: a detector's, or an array (n, height, width) of maps that cover the whole images. Pixels outside their
            region of interest count for nothing.
        samples: what they were scored on, in the same order.
        scores: image scores (n,) in place of the maps' own, which for an array are the largest value of each map.
    """
    frame, roi = (maps.frame, maps.roi) if isinstance(maps, AnomalyMaps) else (None, None)
    array, scores = _checked(maps, samples, scores)
    if isinstance(maps, AnomalyMaps) and maps.counts is not None:
        counted = np.repeat(np.arange(len(samples)), maps.counts)
        array, scores, samples = array[counted], scores[counted], [samples[number] for number in counted.tolist()]
    labels = np.array([sample.label for sample in samples], dtype=bool)
    notes: list[str] = []
    metrics: dict[str, float | None] = dict.fromkeys(IMAGE + PIXEL)
    thresholds: dict[str, float | None] = {"image_f1max": None, "pixel_f1max": None}

    if not len(samples):
        notes.append("no test images, so no metrics: put good ones into test/good, defective ones into test/<defect>")
        return Report(metrics, thresholds, (), tuple(notes))

    statistics: dict[str, Statistic] = {}  # whose intervals are wanted
    by_image = Ranks.of(scores[~labels], scores[labels])
    if by_image.defined:
        statistics["image_auroc"] = image_auroc(scores[~labels], scores[labels])
        metrics["image_auroc"], metrics["image_ap"] = by_image.auroc(), by_image.average_precision()
        metrics["image_f1max"], thresholds["image_f1max"] = by_image.best_f1()
    else:
        notes.append(f"image metrics need good and defective images; all are {'defective' if labels.all() else 'good'}")

    pixels: tuple[Array, Regions] | None = None  # normal scores in rising order, anomalous ones by region
    unmasked = sum(not sample.mask for sample in samples if sample.label)
    if 0 < unmasked < labels.sum():
        of_all = f"{unmasked} of {int(labels.sum())} defective images have no mask"
        notes.append(f"{of_all}: no pixel is judged, image-level metrics only")
    elif unmasked:
        notes.append("no masks: image-level metrics only")
    elif labels.any():
        frame = frame or Frame(resize=(int(array.shape[1]), int(array.shape[2])))
        truth = _truth(array, samples, frame)
        if share := share_cut_off(samples, frame):
            outside = f"{share:.1%}" if share >= 0.0005 else "less than 0.1%"
            notes.append(f"the crop leaves {outside} of the marked pixels outside the frame: they are not judged")
        place, judged = ("frame", np.True_) if roi is None else ("region of interest", roi)
        if roi is not None:
            marked = int(truth.sum())
            truth &= roi
            if marked and not truth.any():
                raise DataError("the region of interest leaves out every marked pixel: paint white where defects lie")
            if cut := marked - int(truth.sum()):
                notes.append(f"{cut / marked:.1%} of the marked pixels are outside the region of interest")
        if lost := int((labels & ~truth.any(axis=(1, 2))).sum()):
            of_all = f"{lost} of {int(labels.sum())} defective images"
            notes.append(f"{of_all} have their whole mask outside the {place}; they count as images only")
        normal, regions = pixels = rank_pixels(array, truth, judged)
        by_pixel = Ranks.of_sorted(normal, regions.scores)
        if by_pixel.defined:
            metrics["pixel_auroc"], metrics["pixel_ap"] = by_pixel.auroc(), by_pixel.average_precision()
            metrics["pixel_f1max"], thresholds["pixel_f1max"] = by_pixel.best_f1()
            for name, limit in LIMITS.items():
                metrics[name] = float(overlap(by_pixel, regions, limit).mean())
            annotated = [
                (Ranks.of_sorted(normal, array[number][inside]), area * inside.sum() / mask.sum())
                for number, mask, area in annotated_regions(samples, frame)
                if (inside := mask & judged).any()
            ]
            for name, limit in SATURATED.items() if annotated else ():
                metrics[name] = float(np.mean([saturated_overlap(ranks, area, limit) for ranks, area in annotated]))
            statistics |= pixel_statistics(array, truth, regions, labels, LIMITS, judged) if by_image.defined else {}
        by_defect = aupimo(array, truth, ~labels, roi=judged)
        if np.isfinite(by_defect).any():
            metrics["aupimo"] = float(np.nanmean(by_defect))
        else:
            notes.append("AUPIMO needs at least 100,000 pixels of good images for a false-alarm rate of 1e-5")
    rows = tuple(_rows(samples, scores, labels, pixels))
    values = draws(statistics, int((~labels).sum()), int(labels.sum())) if statistics else {}
    intervals = {name: interval(of_metric) for name, of_metric in values.items()}
    images = tuple(sample.image for sample in samples)
    return Report(metrics, thresholds, rows, tuple(notes), intervals, images, values)


@dataclass(frozen=True)
class Difference:
    """A metric of two detectors on the same images: (low, high) of their difference, and how often it is above 0."""

    metric: str
    first: float
    second: float
    low: float
    high: float
    above: float

    def __str__(self) -> str:
        difference = f"{self.first - self.second:+.3f}  [{self.low:+.3f}, {self.high:+.3f}]"
        share = f"the first is better in {self.above:.0%} of the draws"
        return f"{self.metric}: {self.first:.3f} - {self.second:.3f} = {difference}, {share}"


def paired(first: Report, second: Report, metric: str = "image_auroc", level: float = LEVEL) -> Difference:
    """Compare two detectors on the same images: what makes an image hard for both cancels in each draw.

    Args:
        first, second: what `evaluate` returned for the same samples in the same order.
        metric: one with an interval: "image_auroc", "pixel_auroc", "aupro" or "aupro_05".
        level: the share of draws inside the interval.
    """
    if first.images != second.images:
        raise OptionError("the reports are of other images, or in another order: evaluate both on the same samples")
    expect_one_of("metric with an interval", metric, first.draws.keys() & second.draws.keys())
    values = first.draws[metric] - second.draws[metric]
    one, other = (float(report.metrics[metric] or 0) for report in (first, second))  # what has draws has a value
    return Difference(metric, one, other, *interval(values, level), float((values > 0).mean()))


def _rows(
    samples: Sequence[Sample], scores: Array, labels: Array, pixels: tuple[Array, Regions] | None
) -> Iterator[DefectRow]:
    defects = np.array([sample.defect for sample in samples])
    for defect in dict.fromkeys(defects[labels]):
        chosen = defects == defect
        ranks = Ranks.of(scores[~labels], scores[chosen])
        image_auroc = ranks.auroc() if ranks.defined else None
        pixel_auroc = pixel_overlap = None
        if pixels is not None:
            normal, regions = pixels[0], pixels[1].of_images(chosen)
            by_pixel = Ranks.of_sorted(normal, regions.scores)
            if by_pixel.defined:
                pixel_auroc = by_pixel.auroc()
                pixel_overlap = float(overlap(by_pixel, regions, LIMITS["aupro"]).mean())
        lowest = samples[int(np.flatnonzero(chosen)[scores[chosen].argmin()])].image.stem
        yield DefectRow(str(defect), int(chosen.sum()), image_auroc, pixel_auroc, pixel_overlap, lowest)


def _checked(maps: AnomalyMaps | Array, samples: Sequence[Sample], scores: Array | None) -> tuple[Array, Array]:
    """The arrays of maps (n, height, width) and scores (n,), refused where they do not fit the samples."""
    if isinstance(maps, AnomalyMaps):
        array, scores = maps.maps, maps.scores if scores is None else scores
    else:
        array = maps
    if not isinstance(array, np.ndarray) or array.ndim != 3 or len(array) != len(samples):
        raise OptionError(f"maps must be an array ({len(samples)} images, height, width), not {np.shape(array)}")
    finite = np.isfinite(array).all(axis=(1, 2))
    if not finite.all():
        raise DataError(f"the map of {samples[int(finite.argmin())].image} holds nan or infinite values")
    array = array if array.dtype == np.float64 else np.asarray(array, dtype=np.float32)
    scores = np.asarray(array.max(axis=(1, 2)) if scores is None else scores, dtype=np.float64)
    if scores.shape != (len(samples),) or not np.isfinite(scores).all():
        raise OptionError(f"scores must be {len(samples)} finite numbers, not {scores.shape}")
    return array, scores


def _truth(maps: Array, samples: Sequence[Sample], frame: Frame) -> Array:
    truth = masks(samples, frame)
    if truth.shape != maps.shape:
        raise OptionError(f"maps of {maps.shape[1:]} do not fit masks of {truth.shape[1:]} in the frame {frame}")
    return truth


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
