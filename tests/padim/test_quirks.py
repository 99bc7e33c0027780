"""padim-tensorflow's published rows, quirk by quirk, against literal transcriptions of what that code does."""

import numpy as np
import pytest
import torch
from making import write_parts
from scipy.ndimage import gaussian_filter

from padim_nb import evaluate, load_category
from padim_nb.data.images import Frame
from padim_nb.deploy.export import export
from padim_nb.detectors import load
from padim_nb.errors import ModelError, OptionError
from padim_nb.evaluation.metrics import auroc
from padim_nb.experiments.recipes import RECIPES
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.quirks import scrambled, smallest_distance, whole_batches
from padim_nb.padim.settings import QUIRKS, PaDiMSettings, Selection


def published_concat(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Two channels-last maps as that code joins them: cut into blocks, reshape, pair, reshape, lay out again."""
    b, h, w, c = x.shape
    _, h2, w2, c2 = y.shape
    s = h // h2
    blocks = x.reshape(b, h2, s, w2, s, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h2, w2, s * s * c)
    blocks = blocks.reshape(b, s * s, h2, w2, c)  # the quirk: no transposition
    pairs = np.stack([np.concatenate([blocks[:, i], y], axis=-1) for i in range(s * s)], axis=1)
    pairs = pairs.reshape(b, h2, w2, s * s * (c + c2))
    return pairs.reshape(b, h2, w2, s, s, c + c2).transpose(0, 1, 3, 2, 4, 5).reshape(b, h, w, c + c2)


@pytest.mark.parametrize("sides", [(8, 8, 4), (8, 4, 2), (28, 14, 7)])
def test_coarse_maps_go_where_that_code_puts_them(sides):
    g = np.random.default_rng(0)
    maps = [g.random((2, side, side, c)).astype("f4") for side, c in zip(sides, (3, 4, 5), strict=True)]
    wanted = published_concat(published_concat(maps[0], maps[1]), maps[2])
    feature_maps = [torch.from_numpy(m).permute(0, 3, 1, 2) for m in maps]
    joined = scrambled(feature_maps, [range(3), range(4), range(5)]).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(joined, wanted)


def test_how_much_of_a_coarse_map_stays_in_its_place():
    cells = torch.arange(196.0).reshape(1, 1, 14, 14)
    fine = torch.zeros(1, 1, 28, 28)
    moved = scrambled([fine, cells], [[0], [0]])[0, 1]
    right = cells[0, 0].repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert (moved == right).float().mean() < 0.02  # the notes of the seed say half a percent


def test_the_score_is_the_smallest_distance_on_the_finest_grid():
    distances = torch.rand(3, 14, 14, generator=torch.Generator().manual_seed(0))
    wanted = [gaussian_filter(d.double().numpy(), 4).min() for d in distances]
    np.testing.assert_allclose(smallest_distance(distances, 4.0, "reflect").numpy(), wanted, rtol=1e-4)


@pytest.mark.parametrize(("n", "count"), [(209, 192), (60, 32), (64, 64), (20, 20)])
def test_the_last_smaller_batch_is_left_out(n, count):
    assert len(whole_batches(list(range(n)))) == count


@pytest.fixture(scope="module")
def widget(tmp_path_factory):
    return load_category("widget", write_parts(tmp_path_factory.mktemp("root") / "widget"))


@pytest.fixture(scope="module")
def detector(widget):
    frame = Frame((64, 64), mask_resample="bilinear-floor")
    settings = PaDiMSettings("efficientnet-lite0", frame, Selection("random", 12, 0), quirks=QUIRKS)
    return PaDiM.from_settings(settings, "cpu").fit(widget.train * 3)


def test_a_detector_with_all_quirks_fits_scores_and_comes_back(detector, widget, tmp_path):
    test = widget.test
    maps = detector.score(test)
    assert detector.count == 32 < len(widget.train) * 3
    assert detector.facts["quirks"] == list(QUIRKS)
    assert (maps.scores < maps.maps.min((1, 2)) + maps.maps.mean()).all()
    assert not np.array_equal(maps.scores, maps.maps.max((1, 2)))
    labels = np.array([sample.label for sample in test])
    assert evaluate(maps, test).metrics["image_auroc"] == auroc(maps.scores, labels)
    back = load(detector.save(tmp_path / "m.safetensors"), device="cpu")  # where it was fitted: the same bits
    again = back.score(test)
    np.testing.assert_array_equal(again.maps, maps.maps)
    np.testing.assert_array_equal(again.scores, maps.scores)


def test_the_network_is_given_images_over_the_root_of_the_deviation(detector, monkeypatch):
    inputs = []
    infer = detector.backbone.infer
    monkeypatch.setattr(detector.backbone, "infer", lambda x: inputs.append(x) or infer(x))
    detector.extract(np.full((1, 64, 64, 3), 200, dtype=np.uint8))
    mean, std = torch.full((3,), 127 / 255), torch.full((3,), 128 / 255)
    wanted = (200 / 255 - mean) / std.sqrt()
    torch.testing.assert_close(inputs[0][0, :, 5, 5], wanted)


def test_such_a_detector_is_not_exported(detector, tmp_path):
    with pytest.raises(ModelError, match="quirks"):
        export(detector, tmp_path / "m.onnx")


def test_an_unknown_quirk_is_refused():
    with pytest.raises(OptionError, match="smallest distance"):
        PaDiMSettings("efficientnet-lite0", Frame(), Selection("all"), quirks=("smallest distnce",))


def test_each_net_has_its_published_and_its_mended_recipe():
    for n in (1, 2, 3):
        published, mended = RECIPES[f"padim-tf-net{n}"], RECIPES[f"padim-tf-net{n}-fixed"]
        assert published.settings.quirks == QUIRKS and mended.settings.quirks == ()
        assert published.settings.frame.mask_resample == "bilinear-floor"
        assert published.settings.backbone == mended.settings.backbone
