"""PaDiM: a Gaussian for every patch of a good part, and the distance of a new patch to it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .backbones import Backbone, backbone
from .devices import pick_device
from .embedding import Embedding, joined
from .errors import DataError, ModelError, OptionError
from .gaussian import Moments, PatchGaussians
from .gaussianfile import expect_fit, from_tensors, to_tensors
from .images import Frame, Maps, pictures
from .modelfile import making_sense_of, picture_size, read_model, write_model
from .mvtec import Sample
from .settings import PaDiMSettings, Selection
from .slips import scrambled, smallest_distance, whole_batches, with_root_of_deviation
from .smoothing import smooth
from .thin import ThinGaussians, is_cheaper
from .thresholds import Threshold, conformal, enough, folds, image_scores


@dataclass
class PaDiM:
    """`fit` on good samples, `score` others.

    What was learnt is kept as sums (`moments_`), or as the features themselves (`few_`) while the images are so few
    that the thin form is cheaper; `gaussians_` are made of either.
    """

    settings: PaDiMSettings
    backbone: Backbone
    device: str = "cpu"
    moments_: Moments | None = None
    few_: list[Tensor] | None = None
    gaussians_: PatchGaussians | ThinGaussians | None = None
    threshold_: Threshold | None = None
    size_: tuple[int, int] | None = None
    embedding: Embedding = field(init=False)

    def __post_init__(self) -> None:
        self.embedding = self.settings.selection.of(self.backbone.channels)
        if "input over root of deviation" in self.settings.slips:
            with_root_of_deviation(self.backbone)
        self.backbone.to(self.device)

    @classmethod
    def from_settings(cls, settings: PaDiMSettings, device: str = "auto") -> PaDiM:
        """A detector that has seen nothing yet."""
        return cls(settings, backbone(settings.backbone, settings.weights, settings.seed), pick_device(device))

    def fit(self, samples: Sequence[Sample], false_alarm: float | None = None) -> PaDiM:
        """Learn from good samples, forgetting any earlier ones.

        With a share of false alarms, `calibrate` for it too: in the same pass of the network over the pictures.
        """
        self.moments_ = self.few_ = self.gaussians_ = self.threshold_ = self.size_ = None
        if "last batch left out" in self.settings.slips:
            samples = whole_batches(samples)
        if false_alarm is None:
            return self.partial_fit(samples)
        if len(samples) > enough(false_alarm):
            self.partial_fit(samples).calibrate(samples, false_alarm)
            return self
        groups, kept = folds(len(samples)), []
        self._learn(_kept(self._levels(samples, "fitting"), kept), len(samples)).factor()
        self.threshold_ = conformal(self._in_turn(kept, groups), false_alarm)
        return self

    def partial_fit(self, samples: Sequence[Sample]) -> PaDiM:
        """Learn from more good samples, as if all had been there at once; an unreadable one changes nothing."""
        return self.learn(samples).factor()

    def learn(self, samples: Sequence[Sample]) -> PaDiM:
        """The first half of `partial_fit`: sum up, without making Gaussians of the sums."""
        return self._learn(self._levels(samples, "fitting"), len(samples))

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
        form = "thin" if isinstance(self.gaussians_, ThinGaussians) else self.settings.form
        told = {"dimensions": self.embedding.d, "form": form.replace("auto", "shared")}
        return told | ({"slips": list(self.settings.slips)} if self.settings.slips else {})

    @property
    def count(self) -> int:
        """How many images have been learnt from."""
        return self.moments_.count if self.moments_ else len(self.few_[0]) if self.few_ else 0

    def merge(self, other: PaDiM) -> PaDiM:
        """Take in what another detector of the same settings has learnt from other images."""
        _fitted(self.moments_ or self.few_)
        return self.take_in(other).factor()

    def take_in(self, other: PaDiM) -> PaDiM:
        """The first half of `merge`."""
        if self.settings != other.settings or self.backbone.weights != other.backbone.weights:
            raise OptionError("only detectors of the same settings and weights can be merged")
        _fitted(other.moments_ or other.few_)
        self._join(other.moments_, other.few_)
        self.size_ = self.size_ or other.size_
        return self

    def score(self, samples: Sequence[Sample]) -> Maps:
        """Anomaly maps (n, height, width) in the frame's pixels; the larger, the less like the good ones."""
        found = [self._maps(levels, self.gaussians_) for levels in self._levels(samples, "scoring", fitted=True)]
        return Maps.joined(found)

    def score_pictures(self, framed: np.ndarray) -> Maps:
        """Like `score` for framed pictures that are arrays already, uint8 (b, height, width, 3)."""
        _fitted(self.gaussians_)
        return self._maps(self._features(framed), self.gaussians_)

    def features(self, samples: Sequence[Sample]) -> list[Tensor]:
        """The chosen features of all samples at once, coarse to fine: [(n, c, h, w)]."""
        return [torch.cat(parts) for parts in zip(*self._levels(samples, "reading"), strict=True)]

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
        for _ in _kept(self._levels([samples[i] for i in sorted(drawn)], "reading"), kept):
            pass
        return self._in_turn(kept, groups)

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
            settings = PaDiMSettings(**kept | parts | {"slips": tuple(kept.get("slips", ()))})
            net = backbone(settings.backbone, weights or settings.weights, settings.seed)
            if net.weights["sha256"] != header["weights"]["sha256"]:
                named = header["weights"]["name"]
                raise ModelError(f"{path} was fitted with the weights {named}, not {net.weights['name']}: give those")
            detector = cls(settings, net, pick_device(device))
            grids = tuple((int(height), int(width)) for height, width in header["grids"])
            detector.gaussians_ = from_tensors(tensors, grids, detector.embedding.d, settings.eps, detector.device)
            detector.threshold_ = Threshold.of(header["threshold"])
            detector.size_ = picture_size(header["size"])
            expect_fit(detector.gaussians_, detector._features(np.zeros((1, *detector.size_, 3), dtype=np.uint8)))
        return detector

    def factor(self) -> PaDiM:
        """Make the Gaussians of what was summed up."""
        eps = self.settings.eps
        self.gaussians_ = ThinGaussians.fit(self.few_, eps) if self.few_ else PatchGaussians.fit(self.moments_, eps)
        self.threshold_ = None
        return self

    def _learn(self, batches: Iterable[list[Tensor]], more: int) -> PaDiM:
        if not more:
            raise ModelError("there is nothing to fit: give at least 2 good images")
        n, before = self.count + more, (self.moments_, self.few_, self.size_)
        self.moments_ = self.few_ = None
        try:
            for levels in batches:
                if self.moments_ is None and self._stays_thin(levels, n):
                    self.few_ = (
                        [torch.cat(both) for both in zip(self.few_, levels, strict=True)] if self.few_ else levels
                    )
                else:
                    self._sum_up(levels)
        except BaseException:
            self.moments_, self.few_, self.size_ = before
            raise
        self._join(*before[:2])
        return self

    def _stays_thin(self, levels: Sequence[Tensor], n: int) -> bool:
        form = self.settings.form
        return form == "thin" or (form == "auto" and is_cheaper(levels, n))

    def _join(self, moments: Moments | None, few: list[Tensor] | None) -> None:
        """Take in what was learnt elsewhere, as features or as sums; neither is changed."""
        if few and self.few_ and self._stays_thin(few, self.count + len(few[0])):
            self.few_ = [torch.cat(both) for both in zip(few, self.few_, strict=True)]
        elif self.few_ is None and self.moments_ is None:
            self.few_, self.moments_ = few, copy.deepcopy(moments)
        elif few or moments:
            self._sum_up()
            self.moments_.merge(moments or Moments.of(few))

    def _sum_up(self, levels: Sequence[Tensor] = ()) -> None:
        """Go over from kept features to sums, and add a batch to them."""
        for more in filter(None, (self.few_, levels)):
            self.moments_ = Moments.of(more) if self.moments_ is None else self.moments_.add(more)
        self.few_ = None

    def _levels(self, samples: Sequence[Sample], what: str, fitted: bool = False) -> Iterator[list[Tensor]]:
        if fitted:
            _fitted(self.gaussians_)
        batches = pictures(samples, self.settings.frame, self.settings.batch)
        with tqdm(total=len(samples), desc=what, unit="picture", disable=None, leave=False) as bar:
            for number, batch in enumerate(batches):
                levels = self._features(batch)
                if not all(torch.isfinite(level).all() for level in levels):
                    first = samples[number * self.settings.batch].image
                    raise DataError(
                        f"the network's features of the batch from {first} on are not finite: check images and weights"
                    )
                yield levels
                bar.update(len(batch))

    def _features(self, framed: np.ndarray) -> list[Tensor]:
        size = framed.shape[1:3]
        if self.size_ not in (None, size):
            raise ModelError(
                f"this detector was fitted on pictures of {self.size_[0]}x{self.size_[1]}, not {size[0]}x{size[1]}"
            )
        self.size_ = size
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(framed)).to(self.device)
            taps = self.backbone(self.backbone.normalise(batch).contiguous(memory_format=torch.channels_last))
            if "coarse maps scrambled" in self.settings.slips:
                return [scrambled(taps, self.embedding.chosen)]
            levels = self.embedding.levels(taps)
            return [joined(levels)] if self.settings.form == "dense" else levels

    def _maps(self, levels: Sequence[Tensor], gaussians: PatchGaussians | ThinGaussians) -> Maps:
        with torch.inference_mode():
            s, scores = self.settings, None
            distances = gaussians.distances(levels)
            if "smallest distance" in s.slips:
                scores = smallest_distance(distances, s.sigma, s.border).cpu().numpy()
            maps = smooth(distances, self.size_, s.sigma, s.border, s.upsample)
            return Maps.of(maps.cpu().numpy(), s.frame, scores).checked()

    def _in_turn(self, kept: list[list[Tensor]], groups: list[np.ndarray]) -> np.ndarray:
        """The scores of all pictures, those of each group by Gaussians of the other groups; `kept` is emptied."""
        levels = [torch.cat(parts) for parts in zip(*kept, strict=True)]
        kept.clear()  # held once, not twice
        return np.concatenate([self._held_out(levels, groups, own) for own in range(len(groups))])

    def _held_out(self, levels: list[Tensor], groups: list[np.ndarray], own: int) -> np.ndarray:
        def part(group: np.ndarray) -> list[Tensor]:
            return [level[torch.from_numpy(group)].to(self.device) for level in levels]

        others = groups[:own] + groups[own + 1 :]
        learner = PaDiM(self.settings, self.backbone, self.device)
        learner._learn(map(part, others), sum(map(len, others))).factor()
        return image_scores(self._maps(part(groups[own]), learner.gaussians_))


def _kept(batches: Iterable[list[Tensor]], into: list[list[Tensor]]) -> Iterator[list[Tensor]]:
    """The batches as they come, each also kept in main memory."""
    for levels in batches:
        into.append([level.cpu() for level in levels])
        yield levels


def _fitted(part: object) -> object:
    if part is None:
        raise ModelError("this detector has not been fitted yet: call fit(samples) first")
    return part
