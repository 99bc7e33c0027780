"""PaDiM: a Gaussian for every patch of good images, and the distance of a new patch to it.

fit     images -> backbone -> features -> statistics (kept features, or running moments) -> Gaussians
score   images -> backbone -> features -> Mahalanobis distances -> up-sampling and blur -> anomaly maps, image scores
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..data.groups import group_numbers
from ..data.images import as_images, image_batches, load_roi
from ..data.maps import AnomalyMaps
from ..data.mvtec import Sample
from ..errors import DataError, ModelError, OptionError
from ..evaluation.thresholds import FALSE_ALARM, Threshold, conformal, expect_rate
from ..features.backbones import Backbone, backbone
from ..features.dimensions import joined
from ..util.devices import pick_device
from ..util.model_file import image_size, making_sense_of, read_model, write_model
from ..util.threads import in_threads, shares
from ..util.validation import from_plain
from .leave_one_out import by_group, conformal_distances, expect_others, held_out_distances, parts_of
from .low_rank import LowRankGaussians
from .quirks import Quirks
from .settings import PaDiMSettings
from .smoothing import smooth
from .statistics import (
    KEPT_IMAGES,
    Gaussians,
    Statistics,
    concatenated,
    expect_fit,
    fingerprints,
    group_fingerprints,
    read_gaussians,
)

PIXELS = 1 << 18  # of images in the network at once: 4 of 256 x 256, what fits the cache; a GPU takes more
IN_MEMORY = 1000  # images, the features of which are held to set a threshold in the same pass
AT_ONCE = 32  # images held out at once, in float64
UNFITTED = "this detector has not been fitted yet: call fit(samples) first"
Batch = tuple[list[Tensor], np.ndarray]  # features, one tensor a layer, coarse to fine; fingerprints of the images


class PaDiM:
    """A PaDiM detector: `fit` on good samples, `score` others.

    >>> from padim_nb import load_category, recipe
    >>> bottle = load_category("bottle")
    >>> detector = recipe("padim-gabor", size=64).fit(bottle.train, false_alarm=0.1)
    >>> maps = detector.score(bottle.test)
    >>> stopped = maps.scores > detector.threshold_.value

    Args:
        settings: everything that decides it but the data; not changed.
        network: the backbone; not changed, and copied if it is on another device.
        device: where to compute.
        roi: the region of interest that the settings name, bool (height, width) in their frame.

    Attributes:
        embedding: the dimensions chosen of the backbone's layers.
        roi_: the region of interest, on the device; None where all of an image is judged.
        statistics_: features of few training images or sums over many, and which images they were.
        eps_: what was added to the variances: the settings' number, or what their rule makes of the images.
        size_: (height, width) of the framed images it was fitted on.
        threshold_: image scores above it are anomalous; set by `calibrate`.
    """

    def __init__(
        self, settings: PaDiMSettings, network: Backbone, device: str = "cpu", roi: np.ndarray | None = None
    ) -> None:
        self._settings = settings
        self._quirks = Quirks(settings.quirks)
        self.embedding = settings.selection.embedding(network.channels)
        elsewhere = network.mean.device != torch.empty(0, device=device).device
        self.backbone = copy.deepcopy(network).to(device) if elsewhere else network
        self.device = device
        self.roi_ = None if roi is None else torch.from_numpy(np.ascontiguousarray(roi)).to(device)
        self.reset()

    @classmethod
    def from_settings(cls, settings: PaDiMSettings, device: str = "auto") -> PaDiM:
        """A detector that is not fitted yet, with the backbone and the region of interest that the settings name."""
        roi = load_roi(Path(settings.roi).expanduser(), settings.frame) if settings.roi else None
        return cls(settings, backbone(settings.backbone, settings.weights, settings.seed), pick_device(device), roi)

    def reset(self) -> None:
        """Forget all images."""
        self.statistics_ = Statistics(self.settings.form)
        self.size_: tuple[int, int] | None = None
        self.threshold_: Threshold | None = None
        self.eps_: float | None = None
        self._gaussians: Gaussians | None = None

    @property
    def settings(self) -> PaDiMSettings:
        """Everything that decides the detector but the data."""
        return self._settings

    @property
    def gaussians_(self) -> Gaussians | None:
        """One Gaussian a patch, made of `statistics_` when first asked for; None before any fit."""
        if self._gaussians is None and self.statistics_.count:
            self.eps_ = self.statistics_.eps(self.settings.eps)
            self._gaussians = self.statistics_.gaussians(self.eps_)
        return self._gaussians

    def fit(self, samples: Sequence[Sample], false_alarm: float | None = None) -> PaDiM:
        """Fit to good samples, forgetting any earlier ones; what is refused changes nothing.

        Args:
            samples: good samples, at least 2.
            false_alarm: if given, also set the threshold for this share of good parts (see `calibrate`), for up to
                `IN_MEMORY` images in the same pass of the network.

        Returns:
            The detector.
        """
        samples = self.training_samples(samples)
        if false_alarm is not None:
            expect_rate(false_alarm)
            expect_others(by_group(group_fingerprints(samples))[1], len(samples))
        with self._unchanged_on_error():
            self.reset()
            whole = None if false_alarm is None or len(samples) > IN_MEMORY else self._read(samples, "fitting")
            self._add(self._batched(*whole) if whole else self._batches(samples, "fitting"), samples, len(samples))
            self._fitted()
            if false_alarm is not None:
                held_out = [self._held_out(*whole)] if whole else self._held_out_parts(samples)
                self.threshold_ = self._threshold(held_out, false_alarm)
        return self

    def partial_fit(self, samples: Sequence[Sample], expected: int = 0) -> PaDiM:
        """Fit to further good samples, with the result of one fit to all; if one cannot be read, nothing changes.

        Args:
            samples: good samples.
            expected: how many images there will be in the end, where more are to come: decides the cheapest form.
        """
        return self._add(self._batches(samples, "fitting"), samples, max(len(samples), expected - self.count))

    def merge(self, other: PaDiM) -> PaDiM:
        """Add what another detector of the same settings and weights was fitted on; it may be on another device."""
        if self.settings != other.settings:
            raise OptionError("only detectors of the same settings can be merged")
        if not other.statistics_.has_sums:
            raise ModelError("this detector holds no sums of images to merge: fit it, rather than load it")
        return self.merge_statistics(other.statistics_, other.size_, other.weights["sha256"])

    def merge_statistics(self, statistics: Statistics, size: tuple[int, int] | None, weights: str) -> PaDiM:
        """Add statistics of other images of this (height, width), computed with weights of this SHA-256."""
        self._expect_sums()
        if self.weights["sha256"] != weights:
            raise OptionError("only detectors of the same weights can be merged")
        if self.size_ not in (None, size):
            raise OptionError(f"images of {self.size_} cannot be merged with images of {size}: (height, width)")
        self.statistics_.merge(statistics, self.device)
        self.size_, self._gaussians, self.threshold_ = size, None, None
        return self

    def training_samples(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """The samples that `fit` uses: all of them, but for a quirk of padim-tensorflow.

        DataError where their images are not of the size of the region of interest.
        """
        if self.settings.roi:
            load_roi(Path(self.settings.roi).expanduser(), self.settings.frame, samples)
        return self._quirks.training_samples(samples)

    def score(self, samples: Sequence[Sample]) -> AnomalyMaps:
        """Anomaly maps (n, height, width) in the frame's pixels; the larger, the less like the training images."""
        gaussians = self._fitted()
        maps = self._joined([self._maps(features, gaussians) for features, _ in self._batches(samples, "scoring")])
        return replace(maps, counts=self._quirks.counts(samples))

    def score_images(self, images: np.ndarray) -> AnomalyMaps:
        """Like `score`, for framed images in memory, uint8 or floats in 0..1, (n, height, width, 3)."""
        gaussians = self._fitted()
        return self._maps(self.extract(as_images(images)), gaussians)

    def features(self, samples: Sequence[Sample]) -> list[Tensor]:
        """The chosen features of all samples: one tensor a layer, coarse to fine, (n, channels, height, width)."""
        return concatenated([features for features, _ in self._batches(samples, "reading")])

    def extract(self, images: np.ndarray) -> list[Tensor]:
        """The chosen features of framed images; the first images decide the size of all.

        Args:
            images: uint8 (n, height, width, 3).

        Returns:
            One tensor a layer, coarse to fine, each (n, channels, height, width).
        """
        height, width = images.shape[1:3]
        if self.size_ is not None and self.size_ != (height, width):
            own = "x".join(map(str, self.size_))
            raise ModelError(f"this detector was fitted on images of {own}, not {height}x{width}")
        self.size_ = height, width
        limit = PIXELS if torch.device(self.device).type == "cpu" else 8 * PIXELS
        most = max(1, limit // (height * width))
        parts = np.array_split(images, shares(len(images), self.device, most))
        with torch.inference_mode():
            return concatenated(in_threads(self._features_of, parts, self.device))

    def embed(self, feature_maps: Sequence[Tensor]) -> list[Tensor]:
        """The chosen dimensions of a backbone's feature maps: one tensor a layer, coarse to fine."""
        features = self._quirks.features(feature_maps, self.embedding)
        return [joined(features)] if self.settings.form == "dense" else features

    def smoothed(self, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Anomaly maps (n, height, width) and image scores (n,) of distances (n, h, w), up-sampled and blurred."""
        s = self.settings
        maps = smooth(distances, self.image_size, s.sigma, s.border, s.upsample)
        if self.roi_ is not None:
            maps = maps * self.roi_
        return maps, self._quirks.image_scores(maps, distances, s, self.roi_)

    def calibrate(self, samples: Sequence[Sample], false_alarm: float = FALSE_ALARM) -> Threshold:
        """Set the threshold from good samples, without a single defect.

        It is the conformal quantile of their held-out scores: of a group's images the largest one counts.

        Args:
            samples: good samples, of which those that the detector was fitted on are judged without themselves.
            false_alarm: the share of new good parts that may exceed the threshold.
        """
        expect_rate(false_alarm)
        self.threshold_ = self._threshold(self._held_out_parts(samples), false_alarm)
        return self.threshold_

    def leave_one_out(self, samples: Sequence[Sample]) -> AnomalyMaps:
        """Anomaly maps of good samples by Gaussians of all training images but the sample, or its group, itself.

        Samples that the detector was not fitted on are scored as they are. Of a group all images must be given.
        """
        parts = list(self._held_out_parts(samples))
        order = np.argsort(np.concatenate([numbers for numbers, _, _ in parts]))
        return self._joined([maps for _, _, maps in parts])[order]

    def held_out_scores(self, samples: Sequence[Sample]) -> np.ndarray:
        """The image scores (n,) of `leave_one_out`, without holding the maps."""
        parts = [(numbers, maps.scores) for numbers, _, maps in self._held_out_parts(samples)]
        numbers, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
        return scores[np.argsort(numbers)]

    def p_values(self, samples: Sequence[Sample]) -> np.ndarray:
        """Exact p-values (n,) of new samples by full conformal prediction, by detectors fitted on 3 to 100 images.

        Calling a part defective where its p-value is at most alpha stops at most a share alpha of good new parts,
        however few the training images are, if these and the new part are exchangeable. The smallest p-value of n
        training images is 1 / (n + 1). With groups, n is their number, and the largest score of each counts.
        """
        batches = image_batches(samples, self.settings.frame, self.settings.batch)
        return np.concatenate([np.zeros(0), *(self.p_values_of(images) for images in batches)])

    def p_values_of(self, images: np.ndarray) -> np.ndarray:
        """Like `p_values`, for framed images in memory, uint8 or floats in 0..1, (n, height, width, 3)."""
        self._fitted()
        features = self.statistics_.features
        if not self.has_p_values or features is None:
            raise ModelError(
                f"exact p-values are for detectors fitted on 3 to {KEPT_IMAGES} images, this one was on {self.count}: "
                "use its threshold"
            )
        order, sizes = by_group(self.statistics_.groups)
        own = [layer[torch.from_numpy(order).to(layer.device)] for layer in features]
        values = []
        with torch.inference_mode():
            for distances in conformal_distances(own, self.extract(as_images(images)), self.settings.eps, sizes):
                *training, new = self._maps_of(distances).scores
                largest = np.maximum.reduceat(training, np.cumsum([0, *sizes[:-1]]))
                values.append((1 + (largest >= new).sum()) / (len(sizes) + 1))
        return np.array(values)

    @property
    def has_p_values(self) -> bool:
        """Whether `p_values` can be had: the features of its few training images are here."""
        features_held = self.statistics_.features is not None and 3 <= self.count <= KEPT_IMAGES
        return features_held and len(by_group(self.statistics_.groups)[1]) >= 2

    def save(self, path: str | Path) -> Path:
        """Write the fitted detector to a safetensors file, without the backbone's weights (named by hash)."""
        gaussians = self._fitted()
        weights = Path(self.settings.weights)
        header = {
            "settings": asdict(self.settings),
            "weights": self.weights | ({"path": str(weights.absolute())} if weights.is_file() else {}),
            "grids": gaussians.grids,
            "size": self.size_,
            "eps": self.eps_,
            "threshold": asdict(self.threshold_) if self.threshold_ else None,
        }
        roi = {} if self.roi_ is None else {"roi": self.roi_}
        return write_model(Path(path), "padim", header, gaussians.tensors() | self.statistics_.tensors() | roi)

    @classmethod
    def load(cls, path: str | Path, weights: str = "", device: str = "auto") -> PaDiM:
        """Read a detector back.

        Args:
            path: a file that `save` wrote.
            weights: the backbone's file, if it has moved.
            device: "auto", "cpu", "cuda" or "cuda:1".
        """
        from .memory import layers  # which imports this module

        path, device = Path(path), pick_device(device)
        header, tensors = read_model(path, "padim")
        with making_sense_of(path):
            settings = from_plain(PaDiMSettings, header["settings"])
            fitted_with = header["weights"]
            absolute = fitted_with.get("path", "")  # of weights that were named relative to another folder
            weights = weights or (absolute if Path(absolute).is_file() else settings.weights)
            network = backbone(settings.backbone, weights, settings.seed)
            if network.weights["sha256"] != fitted_with["sha256"]:
                raise ModelError(
                    f"{path} was fitted with the weights {fitted_with['name']}, not {network.weights['name']}: "
                    "give those with --weights"
                )
            size = image_size(header["size"])
            detector = cls(settings, network, device, _roi_of(settings, tensors.pop("roi", None), size))
            grids = tuple((int(height), int(width)) for height, width in header["grids"])
            detector.eps_ = float(header["eps"])
            detector.statistics_ = Statistics.from_tensors(tensors, settings.form, device)
            detector._gaussians = read_gaussians(tensors, grids, device)
            detector.threshold_ = Threshold.of(header["threshold"])
            detector.size_ = size
            expect_fit(detector._gaussians, layers(settings, size))
        return detector

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the framed images; ModelError before any fit."""
        if self.size_ is None:
            raise ModelError(UNFITTED)
        return self.size_

    @property
    def count(self) -> int:
        """The number of training images."""
        return self.statistics_.count

    @property
    def seed(self) -> int:
        """What the random dimensions are drawn from."""
        return self.settings.selection.seed

    @property
    def weights(self) -> dict[str, str]:
        """Name and hash of the backbone's weights."""
        return self.backbone.weights

    @property
    def facts(self) -> dict[str, object]:
        """What a record says of the fit besides its settings."""
        form = "low-rank" if isinstance(self.gaussians_, LowRankGaussians) else self.settings.form
        facts: dict[str, object] = {"dimensions": self.embedding.d, "form": form.replace("auto", "multi-resolution")}
        if isinstance(self.settings.eps, str):
            facts["eps"] = self.eps_
        if self.roi_ is not None:
            facts["judged share of the image"] = float(self.roi_.float().mean())
        return facts | ({"quirks": list(self.settings.quirks)} if self.settings.quirks else {})

    def _batches(self, samples: Sequence[Sample], task: str) -> Iterator[Batch]:
        """The features of all samples, batch by batch, under a progress bar."""
        batch = self.settings.batch
        with tqdm(total=len(samples), desc=task, unit="image", disable=None, leave=False) as bar:
            for number, images in enumerate(image_batches(samples, self.settings.frame, batch)):
                features = self.extract(images)
                if not all(in_threads(lambda layer: bool(torch.isfinite(layer).all()), features, self.device)):
                    first = samples[number * batch].image
                    raise DataError(f"features of the batch from {first} on are not finite: check images and weights")
                yield features, fingerprints(images)
                bar.update(len(images))

    def _read(self, samples: Sequence[Sample], task: str) -> Batch:
        """The features of all samples in main memory, where no batch is held beside them."""
        whole, images, done = list[Tensor](), np.zeros(len(samples), np.int64), 0
        for features, own in self._batches(samples, task):
            whole = whole or [torch.empty(len(samples), *layer.shape[1:]) for layer in features]
            rows = slice(done, done := done + len(own))
            for layer, batch in zip(whole, features, strict=True):
                layer[rows] = batch
            images[rows] = own
        return whole, images

    def _batched(self, features: list[Tensor], images: np.ndarray) -> Iterator[Batch]:
        """The same in batches, or whole where the statistics keep them."""
        size = len(images) if self.statistics_.keeps(features, len(images)) else self.settings.batch
        for start in range(0, len(images), size):
            yield [layer[start : start + size] for layer in features], images[start : start + size]

    def _features_of(self, images: np.ndarray) -> list[Tensor]:
        x = self.backbone.normalize(torch.from_numpy(images).to(self.device), self._quirks.std(self.backbone.std))
        return self.embed(self.backbone.infer(x))

    def _add(self, batches: Iterable[Batch], samples: Sequence[Sample], more: int) -> PaDiM:
        """Add batches of these samples to the statistics, all or none."""
        self._expect_sums()
        if not more:
            raise ModelError("there is nothing to fit: give at least 2 good images")
        added, groups = Statistics(self.settings.form), group_fingerprints(samples)
        with self._unchanged_on_error():
            for features, images in batches:
                own = groups[added.count : added.count + len(images)]
                added.add([layer.to(self.device) for layer in features], images, own, self.count + more)
            if self.count:
                added.merge(self.statistics_, self.device)
        self.statistics_ = added
        self._gaussians = self.threshold_ = None
        return self

    def _maps(self, features: Sequence[Tensor], gaussians: Gaussians) -> AnomalyMaps:
        """The anomaly maps of images with these features."""
        count = shares(len(features[0]), self.device)
        parts = list(zip(*(layer.tensor_split(count) for layer in features), strict=True))
        with torch.inference_mode():
            return self._joined(in_threads(lambda part: self._maps_of(gaussians.distances(part)), parts, self.device))

    def _maps_of(self, distances: Tensor) -> AnomalyMaps:
        maps, scores = (result.cpu().numpy() for result in self.smoothed(distances))
        return AnomalyMaps.of(maps, self.settings.frame, scores, self._roi).expect_finite()

    def _joined(self, maps: list[AnomalyMaps]) -> AnomalyMaps:
        return AnomalyMaps.joined(maps, self.image_size, self.settings.frame, roi=self._roi)

    @property
    def _roi(self) -> np.ndarray | None:
        return None if self.roi_ is None else self.roi_.cpu().numpy()

    def _held_out_parts(self, samples: Sequence[Sample]) -> Iterator[tuple[np.ndarray, np.ndarray, AnomalyMaps]]:
        """`_held_out` of so many samples at a time that their features fit the memory, groups whole."""
        self._fitted()
        order, sizes = by_group(group_fingerprints(samples))
        numbers = group_numbers(samples)
        for rows, _ in parts_of(sizes, IN_MEMORY):
            own, groups, maps = self._held_out(*self._read([samples[i] for i in order[rows]], "leaving out"))
            yield order[rows][own], numbers[order[rows][groups]], maps

    def _held_out(self, features: list[Tensor], images: np.ndarray) -> tuple[np.ndarray, np.ndarray, AnomalyMaps]:
        """Images by Gaussians that do not know them or their group: their numbers, their groups, their maps in order.

        Images of a group follow one another; its number is that of its first image.
        """
        statistics, gaussians = self.statistics_, self._fitted()
        places = statistics.places_of(images)
        own, new = np.flatnonzero(places >= 0), np.flatnonzero(places < 0)
        maps = [self._maps([layer[new] for layer in features], gaussians)]
        order, sizes = by_group(statistics.groups[places[own]])
        own = own[order]
        if len(own):
            statistics.expect_whole_groups(places[own])
            expect_others(sizes, self.count)
            if statistics.has_sums and self.eps_ is not None:
                gaussians = statistics.gaussians(self.eps_, torch.float64)

            def held_out(part: tuple[slice, list[int]]) -> AnomalyMaps:
                rows, sizes = part
                z = gaussians.whitened([layer[own[rows]].to(self.device) for layer in features])
                return self._maps_of(held_out_distances(z, gaussians.grids, sizes, self.count))

            with torch.inference_mode():
                maps += in_threads(held_out, list(parts_of(sizes, AT_ONCE)), self.device)
        groups = np.repeat(own[np.cumsum([0, *sizes[:-1]])], sizes) if len(own) else own
        return np.concatenate([new, own]), np.concatenate([new, groups]), self._joined(maps)

    def _threshold(self, parts: Iterable[tuple[np.ndarray, np.ndarray, AnomalyMaps]], false_alarm: float) -> Threshold:
        """The threshold from held-out images: the largest score of each group counts."""
        scores, groups = [np.zeros(0)], [np.zeros(0, np.int64)]
        for _, own, maps in parts:
            scores.append(maps.scores)
            groups.append(own)
        return conformal(np.concatenate(scores), false_alarm, np.concatenate(groups))

    def _fitted(self) -> Gaussians:
        if self.gaussians_ is None:
            raise ModelError(UNFITTED)
        return self.gaussians_

    def _expect_sums(self) -> None:
        if self._gaussians is not None and not self.statistics_.has_sums:
            raise ModelError("a detector that was loaded holds no sums to add images to: call fit with all of them")

    @contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        before = vars(self).copy()
        try:
            yield
        except BaseException:
            vars(self).update(before)
            raise


def _roi_of(settings: PaDiMSettings, roi: Tensor | None, size: tuple[int, int]) -> np.ndarray | None:
    """The region of interest of a model file; ValueError where it does not belong to such settings and images."""
    if roi is None and not settings.roi:
        return None
    if roi is None or roi.dtype != torch.bool or roi.shape != size or not roi.any():
        raise ValueError(f"no region of interest of {size[0]}x{size[1]} pixels")
    return roi.numpy()
