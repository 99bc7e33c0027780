"""PaDiM: a Gaussian for every patch of good images, and the distance of a new patch to it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import starmap
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..data.images import as_images, image_batches
from ..data.maps import AnomalyMaps
from ..data.mvtec import Sample
from ..errors import DataError, ModelError, OptionError
from ..evaluation.thresholds import Threshold, conformal, enough, folds
from ..features.backbones import Backbone, backbone
from ..features.dimensions import Embedding, joined
from ..util.devices import pick_device
from ..util.model_file import image_size, making_sense_of, read_model, write_model
from ..util.threads import in_threads, shares
from ..util.validation import from_plain
from .low_rank import LowRankGaussians
from .quirks import scrambled, smallest_distance, whole_batches
from .settings import PaDiMSettings
from .smoothing import smooth
from .statistics import Gaussians, Statistics, concatenated, expect_fit, held_out, read_gaussians

PIXELS = 1 << 18  # of images in the network at once: 4 of 256 x 256, what fits the cache; a GPU takes more


class PaDiM:
    """A PaDiM detector: `fit` on good samples, `score` others.

    Args:
        settings: everything that decides it but the data; not changed.
        network: the backbone; not changed, and copied if it is on another device.
        device: where to compute.

    Attributes:
        statistics_: sums over the training images, or their features where these are few.
        eps_: what was added to the variances: the settings' number, or what their rule makes of the images.
        size_: (height, width) of the framed images it was fitted on.
        threshold_: image scores above it are anomalous; set by `calibrate`.
    """

    def __init__(self, settings: PaDiMSettings, network: Backbone, device: str = "cpu") -> None:
        self._settings = settings
        self._embedding = settings.selection.embedding(network.channels)
        elsewhere = network.mean.device != torch.empty(0, device=device).device
        self.backbone = copy.deepcopy(network).to(device) if elsewhere else network
        self.device = device
        self.reset()

    @classmethod
    def from_settings(cls, settings: PaDiMSettings, device: str = "auto") -> PaDiM:
        """A detector that is not fitted yet, with the backbone that the settings name."""
        return cls(settings, backbone(settings.backbone, settings.weights, settings.seed), pick_device(device))

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

    @settings.setter
    def settings(self, settings: PaDiMSettings) -> None:
        raise OptionError("a detector keeps its settings: make another one with PaDiM.from_settings(settings)")

    @property
    def embedding(self) -> Embedding:
        """The dimensions chosen of the backbone's layers."""
        return self._embedding

    @property
    def gaussians_(self) -> Gaussians | None:
        """One Gaussian a patch, made of `statistics_` when first asked for; None before any fit."""
        if self._gaussians is None and self.count:
            self.eps_ = self.statistics_.eps(self.settings.eps)
            self._gaussians = self.statistics_.gaussians(self.eps_)
        return self._gaussians

    @property
    def count(self) -> int:
        """The number of images in `statistics_`; 0 for a detector that was loaded."""
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
        return facts | ({"quirks": list(self.settings.quirks)} if self.settings.quirks else {})

    def fit(self, samples: Sequence[Sample], false_alarm: float | None = None) -> PaDiM:
        """Fit to good samples, forgetting any earlier ones.

        Args:
            samples: good samples, at least 2.
            false_alarm: if given, also set the threshold for this share of good parts, in the same pass of the network.

        Returns:
            The detector.
        """
        self.reset()
        samples = self.training_samples(samples)
        if false_alarm is None:
            self.partial_fit(samples)
        elif len(samples) > enough(false_alarm):
            self.partial_fit(samples).calibrate(samples, false_alarm)
        else:
            groups = folds(len(samples))
            features = self._in_memory(samples, "fitting")
            self._sum_up(zip(*(layer.split(self.settings.batch) for layer in features), strict=True), len(samples))
            self.threshold_ = conformal(self._fold_scores(features, groups), false_alarm)
        self._fitted()
        return self

    def partial_fit(self, samples: Sequence[Sample], expected: int = 0) -> PaDiM:
        """Fit to further good samples, with the result of one fit to all; if one cannot be read, nothing changes.

        Args:
            samples: good samples.
            expected: how many images there will be in the end, where more are to come: decides the cheapest form.
        """
        return self._sum_up(self._batches(samples, "fitting"), max(len(samples), expected - self.count))

    def merge(self, other: PaDiM) -> PaDiM:
        """Add what another detector of the same settings and weights was fitted on; it may be on another device."""
        if self.settings != other.settings:
            raise OptionError("only detectors of the same settings can be merged")
        if not other.count:
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
        """The samples that `fit` uses: all of them, but for a quirk of padim-tensorflow."""
        return whole_batches(samples) if "last batch left out" in self.settings.quirks else samples

    def score(self, samples: Sequence[Sample]) -> AnomalyMaps:
        """Anomaly maps (n, height, width) in the frame's pixels; the larger, the less like the training images."""
        gaussians = self._fitted()
        return self._joined([self._maps(features, gaussians) for features in self._batches(samples, "scoring")])

    def score_images(self, images: np.ndarray) -> AnomalyMaps:
        """Like `score`, for framed images in memory, uint8 or floats in 0..1, (n, height, width, 3)."""
        gaussians = self._fitted()
        return self._maps(self.extract(as_images(images)), gaussians)

    def features(self, samples: Sequence[Sample]) -> list[Tensor]:
        """The chosen features of all samples: one tensor a layer, coarse to fine, (n, channels, height, width)."""
        return concatenated(list(self._batches(samples, "reading")))

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
            return concatenated(in_threads(self._extract, parts, self.device))

    def calibrate(self, samples: Sequence[Sample], false_alarm: float = 0.01, seed: int = 0) -> Threshold:
        """Set the threshold from the good samples the detector was fitted on, without a single defect.

        Each fold is scored by a model of the other folds, so no image is judged by itself; the threshold is the
        conformal quantile of these scores. Fewer than 1 / false_alarm - 1 images are too few for so small a share: the
        threshold is then their largest score. If there are more than `thresholds.ENOUGH` images, that many are drawn:
        the features of all folds are held in memory.

        Args:
            samples: good samples, at least 3.
            false_alarm: the share of new good parts that may exceed the threshold.
            seed: of the folds.
        """
        self.threshold_ = conformal(self.held_out_scores(samples, false_alarm, seed), false_alarm)
        return self.threshold_

    def held_out_scores(self, samples: Sequence[Sample], false_alarm: float = 0.01, seed: int = 0) -> np.ndarray:
        """The image scores (n,) that `calibrate` uses: each from a model that was fitted without the image's fold."""
        drawn = np.random.default_rng(seed).permutation(len(samples))[: enough(false_alarm)]
        groups = folds(len(drawn), seed)
        return self._fold_scores(self._in_memory([samples[i] for i in sorted(drawn)], "reading"), groups)

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
        return write_model(Path(path), "padim", header, gaussians.tensors())

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
            detector = cls(settings, network, device)
            grids = tuple((int(height), int(width)) for height, width in header["grids"])
            detector.eps_ = float(header["eps"])
            detector._gaussians = read_gaussians(tensors, grids, device)
            detector.threshold_ = Threshold.of(header["threshold"])
            detector.size_ = image_size(header["size"])
            expect_fit(detector._gaussians, layers(settings, detector.size_))
        return detector

    def _batches(self, samples: Sequence[Sample], task: str) -> Iterator[list[Tensor]]:
        """The features of all samples, batch by batch, under a progress bar."""
        batch = self.settings.batch
        with tqdm(total=len(samples), desc=task, unit="image", disable=None, leave=False) as bar:
            for number, images in enumerate(image_batches(samples, self.settings.frame, batch)):
                features = self.extract(images)
                if not all(in_threads(lambda layer: bool(torch.isfinite(layer).all()), features, self.device)):
                    first = samples[number * batch].image
                    raise DataError(f"features of the batch from {first} on are not finite: check images and weights")
                yield features
                bar.update(len(images))

    def _in_memory(self, samples: Sequence[Sample], task: str) -> list[Tensor]:
        """The features of all samples in main memory, where no batch is held beside them."""
        whole: list[Tensor] = []
        done = 0
        for features in self._batches(samples, task):
            whole = whole or [torch.empty(len(samples), *layer.shape[1:]) for layer in features]
            for layer, batch in zip(whole, features, strict=True):
                layer[done : done + len(batch)] = batch
            done += len(features[0])
        return whole

    def _extract(self, images: np.ndarray) -> list[Tensor]:
        batch = torch.from_numpy(images).to(self.device)
        over_root = "input over root of deviation" in self.settings.quirks
        x = self.backbone.normalize(batch, self.backbone.std.sqrt() if over_root else None)
        feature_maps = self.backbone.infer(x)
        if "coarse maps scrambled" in self.settings.quirks:
            feature_maps = [feature_maps[layer] for layer in self.embedding.layers]
            return [scrambled(feature_maps, self.embedding.chosen)]
        features = self.embedding.features(feature_maps)
        return [joined(features)] if self.settings.form == "dense" else features

    def _sum_up(self, batches: Iterable[Sequence[Tensor]], more: int) -> PaDiM:
        """Add batches to the statistics, all or none."""
        self._expect_sums()
        if not more:
            raise ModelError("there is nothing to fit: give at least 2 good images")
        added, size = Statistics(self.settings.form), self.size_
        try:
            for features in batches:
                added.add([layer.to(self.device) for layer in features], self.count + more)
        except BaseException:
            self.size_ = size
            raise
        if self.count:
            added.merge(self.statistics_, self.device)
        self.statistics_ = added
        self._gaussians = self.threshold_ = None
        return self

    def _maps(self, features: Sequence[Tensor], gaussians: Gaussians) -> AnomalyMaps:
        """The anomaly maps of images with these features."""
        settings, size = self.settings, self.size_
        assert size, "features have been extracted"

        def maps_of(features: Sequence[Tensor]) -> AnomalyMaps:
            distances, scores = gaussians.distances(features), None
            if "smallest distance" in settings.quirks:
                scores = smallest_distance(distances, settings.sigma, settings.border).cpu().numpy()
            maps = smooth(distances, size, settings.sigma, settings.border, settings.upsample)
            return AnomalyMaps.of(maps.cpu().numpy(), settings.frame, scores).expect_finite()

        count = shares(len(features[0]), self.device)
        parts = list(zip(*(layer.tensor_split(count) for layer in features), strict=True))
        with torch.inference_mode():
            return self._joined(in_threads(maps_of, parts, self.device))

    def _joined(self, maps: list[AnomalyMaps]) -> AnomalyMaps:
        assert self.size_, "features have been extracted"
        return AnomalyMaps.joined(maps, self.size_, self.settings.frame)

    def _fold_scores(self, features: list[Tensor], groups: list[np.ndarray]) -> np.ndarray:
        """The scores of all images, those of each group by Gaussians of the other groups."""
        pairs = held_out(features, groups, self.settings.form, self.settings.eps, self.device)
        scored = starmap(self._maps, pairs)  # unlike a loop's variable, it lets go of a pair before the next is made
        return np.concatenate([maps.scores for maps in scored])

    def _fitted(self) -> Gaussians:
        if self.gaussians_ is None:
            raise ModelError("this detector has not been fitted yet: call fit(samples) first")
        return self.gaussians_

    def _expect_sums(self) -> None:
        if self._gaussians is not None and not self.count:
            raise ModelError("a detector that was loaded holds no sums to add images to: call fit with all of them")
