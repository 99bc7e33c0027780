"""EfficientAD: a student that agrees with its teacher on good parts only, and an autoencoder for what is far apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..data.groups import drawn_groups, group_numbers
from ..data.images import Frame, as_images, image_batches
from ..data.maps import AnomalyMaps
from ..data.mvtec import Sample, header
from ..errors import DataError, ModelError, OptionError
from ..evaluation.thresholds import Threshold, conformal
from ..util.devices import has_fast_bf16, pick_device
from ..util.model_file import image_size, making_sense_of, read_model, write_model
from ..util.validation import from_plain
from . import pdn
from .model import AnomalyMapModel
from .settings import EfficientADSettings
from .teacher import load_teacher, standardized

if TYPE_CHECKING:
    from .training import StudentTrainer

TARGETS = 2 << 30  # bytes of the teacher's outputs that stay in memory rather than being computed at each step
MAPS = 4 << 30  # bytes of the maps of one call; metrics take up to four times as much beside them
SPREAD = 1e-6  # the least distance between the two quantiles
LEARNED, HELD_OUT = "calibration.learned", "calibration.held_out"  # tensors of a model file beside the networks'
GROUPS = "calibration.groups"


@dataclass
class EfficientAD:
    """EfficientAD: `fit` on good samples, `score` others.

    Args:
        settings: everything that decides the detector but the data.
        device: where it computes.
        weights: name and SHA-256 of the teacher's weights.
        checkpoint: a file in which the training's state is saved every `minutes`; a stopped training resumes from it.
            None for none.
        minutes: between two checkpoints.
        validation: good images to hold out in place of a share of the training images.

    Attributes:
        model_: the fitted networks.
        levels_: (q_a, q_b) of the student's map and of the autoencoder's.
        threshold_: set by `calibrate`.
        size_: (height, width) of the images.
        held_out_: image scores of the training images that were held out, (n,).
        groups_: the number of each one's group, (n,).
        earlier_: seconds of training before the last stop.
        facts: numbers about the fit, for a record.
    """

    KIND: ClassVar[str] = "efficientad"  # of its model files
    SETTINGS: ClassVar[type[Any]] = EfficientADSettings

    settings: EfficientADSettings
    device: str = "cpu"
    weights: dict[str, str] = field(default_factory=dict)
    checkpoint: Path | None = None
    minutes: float = 2.0
    validation: Sequence[Sample] = ()
    model_: AnomalyMapModel | None = None
    levels_: list[list[float]] | None = None
    threshold_: Threshold | None = None
    size_: tuple[int, int] | None = None
    held_out_: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    groups_: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    earlier_: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    _learned: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)

    @classmethod
    def from_settings(cls, settings: EfficientADSettings, device: str = "auto") -> EfficientAD:
        """A detector that is not fitted; the weights of its teacher must be here."""
        if not settings.penalty:
            raise DataError("this recipe needs penalty images: give a folder of photographs with --penalty FOLDER")
        from .penalty import folder_of

        folder_of(settings.penalty)
        _, weights = load_teacher(settings.size, settings.weights)
        return cls(settings, pick_device(device), weights)

    @property
    def seed(self) -> int:
        """What its random draws start from."""
        return self.settings.training.seed

    def fit(self, samples: Sequence[Sample], false_alarm: float | None = None) -> EfficientAD:
        """Learn from good samples; some are held out for the quantiles and the threshold, or `validation` is.

        Args:
            samples: at least 2, of at least 2 groups, or 1 beside `validation`. Groups are held out whole.
            false_alarm: a share of false alarms to `calibrate` for.
        """
        from .penalty import penalties  # scoring an image needs neither
        from .training import OriginalJitter, StudentTrainer

        s = self.settings
        learned, held_out = self._split(samples)
        images, judged = self._images(learned), self._images(held_out)
        size = (images.shape[1], images.shape[2])
        pdn.grid(*size)
        penalty_images, penalty = penalties(s.penalty, *size, s.penalties, self.seed)
        if penalty_images is not None:
            penalty_images = penalty_images.to(self.device)
        teacher, self.weights = load_teacher(s.size, s.weights, s.padding)
        teacher, targets = standardized(teacher.to(self.device), images, TARGETS)
        map_size = one_size([*learned, *held_out]) if s.maps == "original" else None
        model, training = self._networks(size, teacher, map_size), replace(s.training, bf16=self._bf16())
        originals = None
        if training.augment == "original":
            originals = OriginalJitter([sample.image for sample in learned], s.frame, training)
        trainer = StudentTrainer(teacher, model.pair, images, penalty_images, training, targets, originals)
        identity = _identity(s, trainer, self.weights["sha256"])
        loss = trainer.run(self.checkpoint, identity, self.minutes)
        self.earlier_ = trainer.earlier
        facts = {
            "steps": s.training.steps,
            "penalty": penalty,
            "precision": "bfloat16" if training.bf16 else "float32",
            "loss": round(loss, 5),
        }
        if map_size is not None:
            facts["maps"] = "{}x{}".format(*map_size)
        return self._fitted_with(model, images, judged, group_numbers(held_out), facts, false_alarm)

    def score(self, samples: Sequence[Sample]) -> AnomalyMaps:
        """Anomaly maps (n, height, width): q_a and q_b of the held-out good images' maps are 0 and 0.1."""
        size = self._expect_memory(len(samples))
        batches = (self.score_images(batch) for batch in image_batches(samples, self.settings.frame, 8))
        return AnomalyMaps.joined(batches, size, self._map_frame, len(samples))

    def score_images(self, framed: np.ndarray) -> AnomalyMaps:
        """Like `score`, for framed images in memory, uint8 or floats in 0..1, (n, height, width, 3)."""
        model, framed = self._fitted(), as_images(framed)
        if framed.shape[1:3] != self.size_:
            (height, width), (h, w) = model.size, framed.shape[1:3]
            raise ModelError(f"this detector was fitted on images of {height}x{width}, not {h}x{w}: resize them")
        with torch.inference_mode():
            maps = model(torch.from_numpy(framed).to(self.device))
        return AnomalyMaps.of(maps.cpu().numpy(), self._map_frame).expect_finite()

    def calibrate(self, samples: Sequence[Sample] | None = None, false_alarm: float = 0.01) -> Threshold:
        """Set the threshold from good images that were not learned from.

        Args:
            samples: see `held_out_scores`.
            false_alarm: the share of new good parts that may exceed the threshold.
        """
        scores, groups = self._held_out(samples)
        self.threshold_ = conformal(scores, false_alarm, groups)
        return self.threshold_

    def held_out_scores(self, samples: Sequence[Sample] | None = None) -> np.ndarray:
        """Image scores (n,) of good images that were not learned from.

        Args:
            samples: all are used but those whose framed pixels were learned from, in whatever order, and others of
                their groups; None for the training images that were held out.
        """
        return self._held_out(samples)[0]

    def save(self, path: str | Path) -> Path:
        """Write the fitted detector to one safetensors file: networks, statistics, quantiles, held-out scores."""
        model = self._fitted()
        facts = {
            "settings": asdict(self.settings),
            "weights": self.weights,
            "levels": self.levels_,
            "size": self.size_,
            "map size": model.map_size,
            "facts": self.facts,
            "threshold": asdict(self.threshold_) if self.threshold_ else None,
        }
        calibration = {HELD_OUT: torch.from_numpy(self.held_out_), LEARNED: torch.from_numpy(self._learned)}
        calibration[GROUPS] = torch.from_numpy(self.groups_)
        return write_model(Path(path), self.KIND, facts, model.state_dict() | calibration)

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> EfficientAD:
        """Read a detector that `save` wrote; it needs no other file."""
        path = Path(path)
        facts, tensors = read_model(path, cls.KIND)
        with making_sense_of(path):
            detector = cls(from_plain(cls.SETTINGS, facts["settings"]), pick_device(device), facts["weights"])
            size = image_size(facts["size"])
            detector.held_out_, detector._learned = tensors.pop(HELD_OUT).numpy(), tensors.pop(LEARNED).numpy()
            groups = tensors.pop(GROUPS, torch.arange(len(detector.held_out_)))  # earlier files have none
            detector.groups_ = groups.numpy()
            model = detector._networks(size, map_size=image_size(facts.get("map size", size)))
            model.load_state_dict(tensors)
            detector.model_ = model.eval().requires_grad_(False).to(detector.device)
            detector.size_, detector.levels_, detector.facts = size, facts["levels"], dict(facts["facts"])
            detector.threshold_ = Threshold.of(facts["threshold"])
        return detector

    def _held_out(self, samples: Sequence[Sample] | None) -> tuple[np.ndarray, np.ndarray]:
        """`held_out_scores`, and the number of each image's group."""
        self._fitted()
        if samples is None:
            return self.held_out_, self.groups_
        batches = image_batches(samples, self.settings.frame, 8)
        new = [(batch, ~np.isin(_fingerprints(batch), self._learned)) for batch in batches]
        scores = np.concatenate(
            [self.score_images(batch[own]).scores for batch, own in new if own.any()] or [self.held_out_[:0]]
        )
        numbers, unseen = group_numbers(samples), np.concatenate([own for _, own in new])
        apart = ~np.isin(numbers, numbers[~unseen])[unseen]  # no image of their group was learned from either
        if not apart.any():
            raise ModelError(f"all {len(samples)} images were learned from: calibrate with other good images")
        return scores[apart], numbers[unseen][apart]

    def _split(self, samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
        """Samples to learn from, and to hold out."""
        if self.validation:
            return list(samples), list(self.validation)
        if self.settings.split == "random_split":
            count = int((1 - self.settings.held_out) * len(samples))
            order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(self.seed)).numpy()
            return ordered(samples, order[:count]), ordered(samples, order[count:])
        order, count = self._drawn(samples)
        return ordered(samples, order[count:]), ordered(samples, order[:count])

    def _drawn(self, samples: Sequence[Sample]) -> tuple[np.ndarray, int]:
        """The samples' numbers in random order, groups whole, and how many of them, from the first on, are held out."""
        n, groups = len(samples), drawn_groups(samples, self.seed)
        if len(groups) < 2:
            what = f"all {n} good images are of one group" if n > 1 else f"there are {n} good images"
            raise ModelError(f"{what}: give at least 2, one of them is held out")
        ends = np.cumsum([len(group) for group in groups])
        enough = int(np.searchsorted(ends, max(1, round(self.settings.held_out * n))))
        return np.concatenate(groups), int(ends[min(enough, len(groups) - 2)])  # at least one group to learn from

    def _images(self, samples: Sequence[Sample]) -> Tensor:
        framed = np.concatenate(list(image_batches(samples, self.settings.frame, 32)))
        return torch.from_numpy(framed).to(self.device)

    def _bf16(self) -> bool:
        precision = self.settings.precision
        return precision == "bfloat16" or (precision == "auto" and has_fast_bf16(self.device))

    def _networks(
        self,
        size: tuple[int, int],
        teacher: pdn.PatchDescription | None = None,
        map_size: tuple[int, int] | None = None,
    ) -> AnomalyMapModel:
        """The graph for images of a size: a teacher, and a student and an autoencoder that have learned nothing."""
        s = self.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            pair = pdn.Pair(pdn.student(s.size, s.padding, s.width), pdn.autoencoder(s.padding))
        pair = pair.to(self.device).to(memory_format=torch.channels_last)
        teacher = teacher or pdn.teacher(s.size, s.padding)
        return AnomalyMapModel(teacher, pair, s.border, size, map_size).to(self.device)

    def _fitted_with(
        self,
        model: AnomalyMapModel,
        learned: Tensor,
        held_out: Tensor,
        groups: np.ndarray,
        facts: dict[str, Any],
        false_alarm: float | None,
    ) -> EfficientAD:
        """Scale the maps by the quantiles of the held-out images, and keep what scoring and calibrating need."""
        with torch.inference_mode():
            raw = torch.cat([model.eval().raw(batch) for batch in held_out.split(8)])
        self.levels_, note = _levels(model.for_quantiles(raw), self.settings.quantiles)
        model.set_levels(self.levels_)
        self.model_, self.size_, self.groups_, self.threshold_ = model, model.size, groups, None
        self._learned = np.unique(_fingerprints(learned.cpu().numpy()))
        maps = [AnomalyMaps.of(model.combined(part).cpu().numpy()) for part in raw.split(8)]
        self.held_out_ = np.concatenate([part.expect_finite().scores for part in maps])
        counts = {"learned from": len(learned), "held out": len(held_out)}
        self.facts = facts | counts | ({"note": note} if note else {})
        if false_alarm is not None:
            self.calibrate(false_alarm=false_alarm)
        return self

    @property
    def _map_frame(self) -> Frame:
        """How the maps cover the images."""
        model = self._fitted()
        return self.settings.frame if model.map_size == model.size else Frame(model.map_size)

    def _expect_memory(self, images: int) -> tuple[int, int]:
        """(height, width) of the maps; OptionError where so many of them would take more than `MAPS`."""
        height, width = self._fitted().map_size
        if 4 * images * height * width > MAPS:
            gigabytes = 4 * images * height * width / 1e9
            raise OptionError(
                f"{images} maps of {height}x{width}, the images' own size, take {gigabytes:.1f} GB, "
                f"{MAPS / 1e9:.1f} GB at most: score them in parts, or with a recipe whose maps have its frame's size"
            )
        return height, width

    def _fitted(self) -> AnomalyMapModel:
        if self.model_ is None:
            raise ModelError("this detector has not been fitted yet: call fit(samples) first")
        return self.model_


def ordered(samples: Sequence[Sample], numbers: np.ndarray) -> list[Sample]:
    """The samples of these numbers, in their order."""
    return [samples[i] for i in sorted(numbers)]


def one_size(samples: Sequence[Sample]) -> tuple[int, int]:
    """(height, width) of the samples' files; DataError where they differ."""
    sizes = {header(sample.image): sample.image for sample in samples}
    if len(sizes) > 1:
        (first, one), (second, other) = list(sizes.items())[:2]
        size_of = "{1}x{0}".format
        raise DataError(
            f"{one} is {size_of(*first)}, {other} is {size_of(*second)}: "
            "maps of the images' own size need images of one size"
        )
    ((width, height),) = sizes
    return height, width


def _levels(held_out: Tensor, quantiles: tuple[float, float]) -> tuple[list[list[float]], str]:
    """(q_a, q_b) of the student's and of the autoencoder's maps (n, 2, h, w) of good images, and a note or ""."""
    values = held_out.cpu().double().numpy()
    levels, note = [], ""
    for maps in values.transpose(1, 0, 2, 3):
        if not np.isfinite(maps).all():
            raise DataError("the maps of the held-out images are not finite: check the images and the teacher")
        low, high = np.quantile(maps, quantiles)
        if high - low < SPREAD:
            high, note = low + SPREAD, "the quantiles of a map coincide: the images may all be the same"
        levels.append([float(low), float(high)])
    return levels, note


def _identity(settings: EfficientADSettings, trainer: StudentTrainer, teacher: str) -> dict[str, object]:
    """All settings of a training and the SHA-256 of the contents of its inputs, wherever they lie."""
    values = asdict(replace(settings, training=trainer.training))
    values |= values.pop("training")
    inputs = {"images": trainer.images, "penalty": trainer.penalties}
    return values | {name: _digest(images) for name, images in inputs.items()} | {"weights": teacher}


def _digest(images: Tensor | None) -> str:
    return "" if images is None else hashlib.sha256(images.cpu().contiguous().numpy().data).hexdigest()


def _fingerprints(images: np.ndarray) -> np.ndarray:
    """64 bits of the SHA-256 of each image's pixels, int64 (n,)."""
    digests = [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()[:8] for image in images]
    return np.array([int.from_bytes(digest, "little", signed=True) for digest in digests], dtype=np.int64)
