"""PaDiM: a Gaussian for every patch of a good part, and the distance of a new patch to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data.images import Frame
from ..data.maps import AnomalyMaps
from ..data.mvtec import Sample
from ..errors import ModelError, OptionError
from ..evaluation.thresholds import Threshold, conformal, enough, folds
from ..features.backbones import Backbone, backbone
from ..features.dimensions import Embedding
from ..util.devices import pick_device
from ..util.model_file import image_size, making_sense_of, read_model, write_model
from .evidence import Evidence, held_out
from .extraction import Extractor
from .gaussian import PatchGaussians
from .gaussian_file import expect_fit, from_tensors, to_tensors
from .low_rank import LowRankGaussians
from .quirks import smallest_distance, whole_batches
from .settings import PaDiMSettings, Selection
from .smoothing import smooth


@dataclass
class PaDiM:
    """`fit` on good samples, `score` others; `gaussians_` are made of the `evidence_`."""

    settings: PaDiMSettings
    backbone: Backbone
    device: str = "cpu"
    gaussians_: PatchGaussians | LowRankGaussians | None = None
    threshold_: Threshold | None = None
    evidence_: Evidence = field(init=False)
    extractor: Extractor = field(init=False)

    def __post_init__(self) -> None:
        self.evidence_ = Evidence(self.settings.form)
        self.extractor = Extractor(self.settings, self.backbone, self.device)

    @classmethod
    def from_settings(cls, settings: PaDiMSettings, device: str = "auto") -> PaDiM:
        """A detector that has seen nothing yet."""
        return cls(settings, backbone(settings.backbone, settings.weights, settings.seed), pick_device(device))

    def fit(self, samples: Sequence[Sample], false_alarm: float | None = None) -> PaDiM:
        """Learn from good samples, forgetting any earlier ones.

        With a share of false alarms, `calibrate` for it too: in the same pass of the network over the pictures.
        """
        self.reset()
        if "last batch left out" in self.settings.quirks:
            samples = whole_batches(samples)
        if false_alarm is None:
            return self.partial_fit(samples)
        if len(samples) > enough(false_alarm):
            self.partial_fit(samples).calibrate(samples, false_alarm)
            return self
        groups, kept = folds(len(samples)), []
        self._learn(_kept(self.extractor.batches(samples, "fitting"), kept), len(samples)).factor()
        self.threshold_ = conformal(self._in_turn(kept, groups, self.evidence_), false_alarm)
        return self

    def reset(self) -> None:
        """Be as if nothing had been learnt."""
        self.evidence_ = Evidence(self.settings.form)
        self.gaussians_ = self.threshold_ = self.extractor.size = None

    def partial_fit(self, samples: Sequence[Sample]) -> PaDiM:
        """Learn from more good samples, as if all had been there at once; an unreadable one changes nothing."""
        return self.learn(samples).factor()

    def learn(self, samples: Sequence[Sample]) -> PaDiM:
        """The first half of `partial_fit`: sum up, without making Gaussians of the sums."""
        return self._learn(self.extractor.batches(samples, "fitting"), len(samples))

    @property
    def embedding(self) -> Embedding:
        """The dimensions chosen of the backbone's taps."""
        return self.extractor.embedding

    @property
    def size_(self) -> tuple[int, int] | None:
        """Height and width of the framed pictures it was fitted on."""
        return self.extractor.size

    @property
    def seed(self) -> int:
        """What the random dimensions are drawn from."""
        return self.settings.selection.seed

    @property
    def weights(self) -> dict[str, str]:
        """Name and hash of what the features are computed with."""
        return self.backbone.weights

    @property
    def facts(self) -> dict[str, object]:
        """What a record tells of the fit besides its settings."""
        form = "thin" if isinstance(self.gaussians_, LowRankGaussians) else self.settings.form
        told = {"dimensions": self.embedding.d, "form": form.replace("auto", "shared")}
        return told | ({"quirks": list(self.settings.quirks)} if self.settings.quirks else {})

    @property
    def count(self) -> int:
        """How many images have been learnt from."""
        return self.evidence_.count

    def merge(self, other: PaDiM) -> PaDiM:
        """Take in what another detector of the same settings has learnt from other images."""
        _fitted(self.count)
        return self.take_in(other).factor()

    def take_in(self, other: PaDiM) -> PaDiM:
        """The first half of `merge`."""
        if self.settings != other.settings or self.backbone.weights != other.backbone.weights:
            raise OptionError("only detectors of the same settings and weights can be merged")
        _fitted(other.count)
        self.evidence_.join(other.evidence_)
        self.extractor.size = self.size_ or other.size_
        return self

    def score(self, samples: Sequence[Sample]) -> AnomalyMaps:
        """Anomaly maps (n, height, width) in the frame's pixels; the larger, the less like the good ones."""
        _fitted(self.gaussians_)
        found = [self._maps(levels, self.gaussians_) for levels in self.extractor.batches(samples, "scoring")]
        return AnomalyMaps.joined(found, self.size_, self.settings.frame)

    def score_images(self, framed: np.ndarray) -> AnomalyMaps:
        """Like `score` for framed pictures that are arrays already, uint8 (b, height, width, 3)."""
        _fitted(self.gaussians_)
        return self._maps(self.extractor.of(framed), self.gaussians_)

    def features(self, samples: Sequence[Sample]) -> list[Tensor]:
        """The chosen features of all samples at once, coarse to fine: [(n, c, h, w)]."""
        return [torch.cat(parts) for parts in zip(*self.extractor.batches(samples, "reading"), strict=True)]

    def calibrate(self, samples: Sequence[Sample], false_alarm: float = 0.01, seed: int = 0) -> Threshold:
        """Set the threshold from the good samples the detector was fitted on, without a single defect.

        Each fold is scored by a model of the other folds, so no image is judged by itself; the threshold is the
        conformal quantile of these scores, which about `false_alarm` of new good parts exceed. Fewer than
        1 / false_alarm - 1 images cannot tell so small a share: the threshold is then their largest score. Of more
        than `thresholds.ENOUGH` images so many are drawn, as the features of all folds are held in memory.
        """
        self.threshold_ = conformal(self.held_out_scores(samples, false_alarm, seed), false_alarm)
        return self.threshold_

    def held_out_scores(self, samples: Sequence[Sample], false_alarm: float = 0.01, seed: int = 0) -> np.ndarray:
        """The scores that `calibrate` looks at: each good sample's from a model that was fitted without its fold."""
        drawn = np.random.default_rng(seed).permutation(len(samples))[: enough(false_alarm)]
        groups = folds(len(drawn), seed)
        kept: list[list[Tensor]] = []
        for _ in _kept(self.extractor.batches([samples[i] for i in sorted(drawn)], "reading"), kept):
            pass
        return self._in_turn(kept, groups, Evidence(self.settings.form))

    def save(self, path: str | Path) -> Path:
        """Write the fitted detector to one safetensors file, without the backbone's weights (named by hash)."""
        tensors = to_tensors(_fitted(self.gaussians_))
        header = {
            "settings": asdict(self.settings),
            "weights": self.backbone.weights,
            "grids": self.gaussians_.grids,
            "size": self.size_,
            "threshold": asdict(self.threshold_) if self.threshold_ else None,
        }
        return write_model(Path(path), "padim", header, tensors)

    @classmethod
    def load(cls, path: str | Path, weights: str = "", device: str = "auto") -> PaDiM:
        """Read a detector back; `weights` names the backbone's file where it is not in its usual place."""
        header, tensors = read_model(Path(path), "padim")
        with making_sense_of(path):
            kept = header["settings"]
            parts = {"frame": Frame.of(kept["frame"]), "selection": Selection(**kept["selection"])}
            settings = PaDiMSettings(**kept | parts | {"quirks": tuple(kept.get("quirks", ()))})
            net = backbone(settings.backbone, weights or settings.weights, settings.seed)
            if net.weights["sha256"] != header["weights"]["sha256"]:
                named = header["weights"]["name"]
                raise ModelError(f"{path} was fitted with the weights {named}, not {net.weights['name']}: give those")
            detector = cls(settings, net, pick_device(device))
            grids = tuple((int(height), int(width)) for height, width in header["grids"])
            detector.gaussians_ = from_tensors(tensors, grids, detector.embedding.d, settings.eps, detector.device)
            detector.threshold_ = Threshold.of(header["threshold"])
            detector.extractor.size = image_size(header["size"])
            expect_fit(detector.gaussians_, detector.extractor.of(np.zeros((1, *detector.size_, 3), dtype=np.uint8)))
        return detector

    def factor(self) -> PaDiM:
        """Make the Gaussians of what was summed up."""
        self.gaussians_ = self.evidence_.gaussians(self.settings.eps)
        self.threshold_ = None
        return self

    def _learn(self, batches: Iterable[list[Tensor]], more: int) -> PaDiM:
        if not more:
            raise ModelError("there is nothing to fit: give at least 2 good images")
        learnt, size = Evidence(self.settings.form), self.size_
        try:
            for levels in batches:
                learnt.add(levels, self.count + more)
        except BaseException:
            self.extractor.size = size
            raise
        learnt.join(self.evidence_)
        self.evidence_ = learnt
        return self

    def _maps(self, levels: Sequence[Tensor], gaussians: PatchGaussians | LowRankGaussians) -> AnomalyMaps:
        with torch.inference_mode():
            s, scores = self.settings, None
            distances = gaussians.distances(levels)
            if "smallest distance" in s.quirks:
                scores = smallest_distance(distances, s.sigma, s.border).cpu().numpy()
            maps = smooth(distances, self.size_, s.sigma, s.border, s.upsample)
            return AnomalyMaps.of(maps.cpu().numpy(), s.frame, scores).expect_finite()

    def _in_turn(self, kept: list[list[Tensor]], groups: list[np.ndarray], learnt: Evidence) -> np.ndarray:
        """The scores of all pictures, those of each group by Gaussians of the other groups; `kept` is emptied."""
        levels = [torch.cat(parts) for parts in zip(*kept, strict=True)]
        kept.clear()  # held once, not twice
        turns = held_out(levels, groups, learnt, self.settings.eps, self.device)
        return np.concatenate([self._maps(*turn).scores for turn in turns])


def _kept(batches: Iterable[list[Tensor]], into: list[list[Tensor]]) -> Iterator[list[Tensor]]:
    """The batches as they come, each also kept in main memory."""
    for levels in batches:
        into.append([level.cpu() for level in levels])
        yield levels


def _fitted(part: object) -> object:
    if not part:
        raise ModelError("this detector has not been fitted yet: call fit(samples) first")
    return part
