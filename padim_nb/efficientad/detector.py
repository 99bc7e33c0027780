"""EfficientAD: a student that agrees with its teacher on good parts only, and an autoencoder for what is far apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data.images import Frame, image_batches
from ..data.maps import AnomalyMaps
from ..data.mvtec import Sample
from ..errors import DataError, ModelError
from ..evaluation.thresholds import Threshold, conformal
from ..util.devices import has_fast_bf16, pick_device
from ..util.model_file import image_size, making_sense_of, read_model, write_model
from . import pdn
from .model import AnomalyMapModel
from .penalty import penalties
from .settings import EfficientADSettings, Training
from .teacher import load_teacher, standardised
from .training import StudentTrainer

SPREAD = 1e-6  # the least distance between the two quantiles


@dataclass
class EfficientAD:
    """`fit` on good samples, `score` others. `facts` say what it learnt from and how that went.

    With a `checkpoint` path the training is kept there every few `minutes` and goes on from there after a stop;
    `earlier_` are the seconds that it had then taken.
    """

    settings: EfficientADSettings
    device: str = "cpu"
    weights: dict[str, str] = field(default_factory=dict)
    checkpoint: Path | None = None
    minutes: float = 2.0
    model_: AnomalyMapModel | None = None
    levels_: list[list[float]] | None = None
    threshold_: Threshold | None = None
    size_: tuple[int, int] | None = None
    earlier_: float = 0.0
    facts: dict[str, object] = field(default_factory=dict)

    @classmethod
    def from_settings(cls, settings: EfficientADSettings, device: str = "auto") -> EfficientAD:
        """A detector that has seen nothing yet; its teacher's weights must be here."""
        _, weights = load_teacher(settings.size, settings.weights)
        return cls(settings, pick_device(device), weights)

    @property
    def seed(self) -> int:
        """What its random draws start from."""
        return self.settings.training.seed

    def fit(self, samples: Sequence[Sample], false_alarm: float | None = None) -> EfficientAD:
        """Learn from good samples; a tenth of them is only looked at afterwards, for the quantiles.

        With a share of false alarms, `calibrate` for it too.
        """
        s = self.settings
        learnt, held = self._split(samples)
        shown, judged = self._shown(learnt), self._shown(held)
        self.size_ = tuple(shown.shape[1:3])
        pdn.grid(*self.size_)
        others, named = penalties(s.penalty, *self.size_, s.penalties, s.training.seed)
        teacher, self.weights = load_teacher(s.size, s.weights, s.padding)
        teacher = standardised(teacher.to(self.device), shown)
        bf16 = s.precision == "bfloat16" or (s.precision == "auto" and has_fast_bf16(self.device))
        pair = self._fresh_pair()
        others = None if others is None else others.to(self.device)
        course = StudentTrainer(teacher, pair, shown, others, replace(s.training, bf16=bf16))
        digest = hashlib.sha256(shown.cpu().numpy().tobytes()).hexdigest()
        identity = {"pictures": digest, "teacher": self.weights["sha256"], "penalty": named, "size": s.size}
        loss = course.run(self.checkpoint, identity, self.minutes)
        self.earlier_ = course.earlier
        self.model_ = AnomalyMapModel(teacher, pair, s.border, self.size_).eval().to(self.device)
        self.levels_, note = self._quantiles(judged)
        self.model_.set_levels(self.levels_)
        self.threshold_ = None
        self.facts = {
            "steps": s.training.steps,
            "penalty": named,
            "precision": "bfloat16" if bf16 else "float32",
            "loss": round(loss, 5),
            "learnt from": len(learnt),
            "held out": len(held),
            **({"note": note} if note else {}),
        }
        if false_alarm is not None:
            self.calibrate(samples, false_alarm)
        return self

    def score(self, samples: Sequence[Sample]) -> AnomalyMaps:
        """Anomaly maps (n, height, width) in the frame's pixels; about 0 on good parts, 0.1 and more where not."""
        self._fitted()
        found = [self.score_images(batch) for batch in image_batches(samples, self.settings.frame, 8)]
        return AnomalyMaps.joined(found, self.size_, self.settings.frame)

    def score_images(self, framed: np.ndarray) -> AnomalyMaps:
        """Like `score` for framed pictures that are arrays already, uint8 (b, height, width, 3)."""
        eye = self._fitted()
        if framed.shape[1:3] != self.size_:
            wanted, found = self.size_, framed.shape[1:3]
            raise ModelError(
                f"this detector was fitted on pictures of {wanted[0]}x{wanted[1]}, not {found[0]}x{found[1]}"
            )
        with torch.inference_mode():
            maps = eye(torch.from_numpy(np.ascontiguousarray(framed)).to(self.device))
        return AnomalyMaps.of(maps.cpu().numpy(), self.settings.frame).expect_finite()

    def calibrate(self, samples: Sequence[Sample], false_alarm: float = 0.01) -> Threshold:
        """Set the threshold from those of the training samples that were held out: nothing learnt from them."""
        self.threshold_ = conformal(self.held_out_scores(samples), false_alarm)
        return self.threshold_

    def held_out_scores(self, samples: Sequence[Sample]) -> np.ndarray:
        """The scores that `calibrate` looks at: of those training samples that were held out."""
        _, held = self._split(samples)
        return self.score(held).scores

    def save(self, path: str | Path) -> Path:
        """Write the fitted detector, teacher, statistics and quantiles inside, to one safetensors file."""
        eye = self._fitted()
        header = {
            "settings": asdict(self.settings),
            "weights": self.weights,
            "levels": self.levels_,
            "size": self.size_,
            "facts": self.facts,
            "threshold": asdict(self.threshold_) if self.threshold_ else None,
        }
        return write_model(Path(path), "efficientad", header, eye.state_dict())

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> EfficientAD:
        """Read a detector back; it needs no other file."""
        header, tensors = read_model(Path(path), "efficientad")
        with making_sense_of(path):
            kept = header["settings"]
            parts = {
                "frame": Frame.of(kept["frame"]),
                "training": Training(**kept["training"]),
                "quantiles": tuple(kept["quantiles"]),
            }
            detector = cls(EfficientADSettings(**kept | parts), pick_device(device), header["weights"])
            detector.size_ = image_size(header["size"])
            teacher = pdn.teacher(detector.settings.size, detector.settings.padding)
            eye = AnomalyMapModel(teacher, detector._fresh_pair(), detector.settings.border, detector.size_)
            eye.load_state_dict(tensors)
            detector.model_ = eye.eval().requires_grad_(False).to(detector.device)
            detector.levels_, detector.facts = header["levels"], dict(header["facts"])
            detector.threshold_ = Threshold.of(header["threshold"])
        return detector

    def _split(self, samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
        n = len(samples)
        held = max(1, round(self.settings.held_out * n))
        if n - held < 1:
            raise ModelError(f"there are {n} good images: give at least 2, one of them is held out")
        order = np.random.default_rng(self.seed).permutation(n)
        last = set(order[:held].tolist())
        return [samples[i] for i in range(n) if i not in last], [samples[i] for i in sorted(last)]

    def _shown(self, samples: Sequence[Sample]) -> Tensor:
        framed = np.concatenate(list(image_batches(samples, self.settings.frame, 32)))
        return torch.from_numpy(framed).to(self.device)

    def _fresh_pair(self) -> pdn.Pair:
        s = self.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            pair = pdn.Pair(pdn.student(s.size, s.padding), pdn.autoencoder(s.padding))
        return pair.to(self.device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def _quantiles(self, judged: Tensor) -> tuple[list[list[float]], str]:
        """q_a and q_b of the student's and the autoencoder's map over held-out good images."""
        values = torch.cat([self.model_.judged(some).cpu() for some in judged.split(8)]).double().numpy()
        levels, note = [], ""
        for map_ in values.transpose(1, 0, 2, 3):
            if not np.isfinite(map_).all():
                raise DataError("the maps of the held-out images are not finite: check the images and the teacher")
            low, high = np.quantile(map_, self.settings.quantiles)
            if high - low < SPREAD:
                high, note = low + SPREAD, "the quantiles of a map coincide: the images may all be the same"
            levels.append([float(low), float(high)])
        return levels, note

    def _fitted(self) -> AnomalyMapModel:
        if self.model_ is None:
            raise ModelError("this detector has not been fitted yet: call fit(samples) first")
        return self.model_
