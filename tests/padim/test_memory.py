"""The memory that is told before a fit is what its tensors take."""

import numpy as np
import pytest

from padim_nb.data.images import Frame
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.low_rank import LowRankGaussians
from padim_nb.padim.memory import BESIDE, memory_of
from padim_nb.padim.settings import PaDiMSettings, Selection
from padim_nb.padim.statistics import Statistics


@pytest.mark.parametrize("size", [(64, 64), (96, 128)], ids=str)
@pytest.mark.parametrize("form", ["auto", "multi-resolution", "low-rank", "dense"])
@pytest.mark.parametrize("backbone", ["gabor", "resnet18"])
def test_what_is_told_is_what_the_tensors_take(backbone, form, size):
    weights = "random" if backbone == "resnet18" else ""
    settings = PaDiMSettings(backbone, Frame(size), Selection("random", 30, 0), weights=weights, form=form)
    for count in (6, 120):  # few and many beside 30 dimensions
        detector = PaDiM.from_settings(settings, "cpu")
        images = np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)
        features = detector.extract(images)
        sums = Statistics(form)
        sums.add(features, np.arange(count), np.zeros(count, np.int64), count)
        told = memory_of(settings, size, count)
        if sums.features:
            assert told.sums == sum(layer.nbytes for layer in sums.features)
        else:
            rows = (sums.moments.mean, *sums.moments.scatter)
            assert told.sums == sum(tensor.nbytes for row in rows for tensor in row)
        gaussians = sums.gaussians(0.01)
        assert told.model == gaussians.bytes
        assert told.features == sum(layer.nbytes for layer in features)
        low_rank = form == "low-rank" or (form == "auto" and count == 6)
        assert isinstance(gaussians, LowRankGaussians) == low_rank
        assert told.peak > BESIDE + told.model + told.sums + told.features


def test_features_are_held_of_as_many_images_as_set_a_threshold():
    settings = PaDiMSettings("gabor", Frame((64, 64)), Selection("all"))
    few, many = (memory_of(settings, (64, 64), count) for count in (1000, 5000))
    assert (few.model, few.sums, few.features) == (many.model, many.sums, many.features)
    assert "sums of 5000 images" in str(many)


def test_a_large_batch_passes_the_network_in_parts_and_says_the_same(monkeypatch):
    detector = PaDiM.from_settings(PaDiMSettings("gabor", Frame((64, 96)), Selection("all")), "cpu")
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 96, 3), dtype=np.uint8)
    passed = []
    monkeypatch.setattr("padim_nb.padim.detector.PIXELS", 5 * 64 * 96)
    whole = detector.extract(images)
    monkeypatch.setattr("padim_nb.padim.detector.PIXELS", 2 * 64 * 96)
    inner = detector.backbone.infer
    monkeypatch.setattr(detector.backbone, "infer", lambda x: passed.append(len(x)) or inner(x))
    for part, layer in zip(detector.extract(images), whole, strict=True):
        assert part.shape == layer.shape and np.allclose(part, layer, rtol=1e-5, atol=1e-6)
    assert sum(passed) == 5 and max(passed) <= 2
    assert [len(layer) for layer in detector.extract(images[:0])] == [0, 0, 0]
