"""`evaluate(maps, samples) -> Report`: every figure of a category, and a row for each kind of defect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..data.images import Frame, masks
from ..data.maps import AnomalyMaps
from ..data.mvtec import Sample
from ..errors import DataError, OptionError
from .metrics import Ranks, Regions, aupimo, overlap, rank_pixels

Array = np.ndarray
IMAGE = ("image_auroc", "image_ap", "image_f1max")
PIXEL = ("pixel_auroc", "pixel_ap", "pixel_f1max", "aupro", "aupro_05", "aupimo")
LIMITS = {"aupro": 0.3, "aupro_05": 0.05}


@dataclass(frozen=True)
class DefectRow:
    """One kind of defect against all good images (image AUROC) and all normal pixels (pixel AUROC, AUPRO)."""

    defect: str
    n: int
    image_auroc: float | None
    pixel_auroc: float | None
    aupro: float | None
    worst: str


@dataclass(frozen=True)
class Report:
    """The figures of one category. What cannot be had is None, and `notes` says why."""

    metrics: Mapping[str, float | None]
    thresholds: Mapping[str, float | None]
    per_defect: tuple[DefectRow, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict:
        """Plain lists, numbers and strings, as they stand in record.json."""
        rows = [vars(row).copy() for row in self.per_defect]
        return {
            "metrics": dict(self.metrics),
            "thresholds": dict(self.thresholds),
            "per_defect": rows,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        lines = ["metric         value", *(f"{name:<13}  {_show(value)}" for name, value in self.metrics.items())]
        if self.per_defect:
            lines += ["", f"{'defect':<22} {'n':>3}  image AUROC  pixel AUROC   AUPRO"]
            for row in self.per_defect:
                figures = f"{_show(row.image_auroc):>11}  {_show(row.pixel_auroc):>11}  {_show(row.aupro):>6}"
                lines.append(f"{row.defect:<22} {row.n:>3}  {figures}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def evaluate(maps: AnomalyMaps | Array, samples: Sequence[Sample], scores: Array | None = None) -> Report:
    """Judge the anomaly maps of n samples.

    Args:
        maps: a detector's, or an array (n, height, width) of maps that cover the whole images.
        samples: what they were scored on, in the same order.
        scores: image scores (n,) in place of the maps' own, which for an array are the largest value of each map.
    """
    frame = maps.frame if isinstance(maps, AnomalyMaps) else None
    maps, scores = _checked(maps, samples, scores)
    labels = np.array([sample.label for sample in samples], dtype=bool)
    notes: list[str] = []
    metrics: dict[str, float | None] = dict.fromkeys(IMAGE + PIXEL)
    thresholds: dict[str, float | None] = {"image_f1max": None, "pixel_f1max": None}

    by_image = Ranks.of(scores[~labels], scores[labels])
    if by_image.defined:
        metrics["image_auroc"], metrics["image_ap"] = by_image.auroc(), by_image.average_precision()
        metrics["image_f1max"], thresholds["image_f1max"] = by_image.best_f1()
    else:
        notes.append(f"image figures need good and defective images; all are {'defective' if labels.all() else 'good'}")

    normal, regions = None, None
    if not all(sample.mask for sample in samples if sample.label):
        notes.append("no masks: image-level figures only")
    elif labels.any():
        truth = _truth(maps, samples, frame)
        lost = int((labels & ~truth.any(axis=(1, 2))).sum())
        if lost:
            notes.append(f"{lost} defective images have their whole mask outside the frame; they count as images only")
        normal, regions = rank_pixels(maps, truth)
        by_pixel = Ranks.of_sorted(normal, regions.scores)
        if by_pixel.defined:
            metrics["pixel_auroc"], metrics["pixel_ap"] = by_pixel.auroc(), by_pixel.average_precision()
            metrics["pixel_f1max"], thresholds["pixel_f1max"] = by_pixel.best_f1()
            for name, limit in LIMITS.items():
                metrics[name] = float(overlap(by_pixel, regions, limit).mean())
        each = aupimo(maps, truth, ~labels)
        if np.isfinite(each).any():
            metrics["aupimo"] = float(np.nanmean(each))
        else:
            notes.append("AUPIMO needs at least 100,000 pixels of good images to tell a false-alarm rate of 1e-5")
    return Report(metrics, thresholds, tuple(_rows(samples, scores, labels, normal, regions)), tuple(notes))


def _rows(samples: Sequence[Sample], scores: Array, labels: Array, normal: Array | None, regions: Regions | None):
    kinds = np.array([sample.defect for sample in samples])
    for kind in dict.fromkeys(kinds[labels]):
        mine = kinds == kind
        ranks = Ranks.of(scores[~labels], scores[mine])
        pixel = part = None
        if regions is not None:
            own = regions.of_images(mine)
            by_pixel = Ranks.of_sorted(normal, own.scores)
            if by_pixel.defined:
                pixel, part = by_pixel.auroc(), float(overlap(by_pixel, own, LIMITS["aupro"]).mean())
        worst = samples[int(np.flatnonzero(mine)[scores[mine].argmin()])].image.stem
        yield DefectRow(str(kind), int(mine.sum()), ranks.auroc() if ranks.defined else None, pixel, part, worst)


def _checked(maps: AnomalyMaps | Array, samples: Sequence[Sample], scores: Array | None) -> tuple[Array, Array]:
    if isinstance(maps, AnomalyMaps):
        maps, scores = maps.maps, maps.scores if scores is None else scores
    if not isinstance(maps, np.ndarray) or maps.ndim != 3 or len(maps) != len(samples):
        raise OptionError(f"maps must be an array ({len(samples)} images, height, width), not {np.shape(maps)}")
    if len(samples) == 0:
        raise OptionError("there is nothing to evaluate: no samples")
    sound = np.isfinite(maps).all(axis=(1, 2))
    if not sound.all():
        raise DataError(f"the map of {samples[int(np.flatnonzero(~sound)[0])].image} holds nan or infinite values")
    maps = maps if maps.dtype == np.float64 else np.asarray(maps, dtype=np.float32)
    scores = np.asarray(maps.max(axis=(1, 2)) if scores is None else scores, dtype=np.float64)
    if scores.shape != (len(samples),) or not np.isfinite(scores).all():
        raise OptionError(f"scores must be {len(samples)} finite numbers, not {scores.shape}")
    return maps, scores


def _truth(maps: Array, samples: Sequence[Sample], frame: Frame | None) -> Array:
    frame = frame or Frame(resize=(int(maps.shape[1]), int(maps.shape[2])))
    truth = masks(samples, frame)
    if truth.shape != maps.shape:
        raise OptionError(f"maps of {maps.shape[1:]} do not fit masks of {truth.shape[1:]} in the frame {frame}")
    return truth


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
