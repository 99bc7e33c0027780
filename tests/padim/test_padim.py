"""The detector from end to end on small parts: exact, mergeable, kept in one file, clear when something is wrong."""

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from making import write_image

from padim_nb import evaluate, load_category, recipe
from padim_nb.data.images import Frame, image_batches
from padim_nb.errors import DataError, ModelError, OptionError, WeightsError
from padim_nb.evaluation.thresholds import conformal
from padim_nb.experiments.recipes import RECIPES
from padim_nb.features.backbones import Backbone, backbone
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.gaussian import PatchGaussians
from padim_nb.padim.low_rank import LowRankGaussians
from padim_nb.padim.settings import PaDiMSettings, Selection
from padim_nb.util.devices import pick_device
from padim_nb.util.model_file import read_model, write_model

SMALL = PaDiMSettings("gabor", Frame((64, 64)), Selection("random", 20, 0))
REAL = Path(__file__).parents[3] / "multi-resolution" / "real"


def small(**changes) -> PaDiM:
    return PaDiM.from_settings(PaDiMSettings(**{**vars(SMALL), **changes}), "cpu")


def test_maps_equal_the_float64_reference_end_to_end(parts):
    widget = load_category("widget", parts)
    detector = small().fit(widget.train)
    maps = detector.score(widget.test)

    def features(samples):
        framed = torch.from_numpy(np.concatenate(list(image_batches(samples, SMALL.frame))))
        levels = detector.embedding.features(detector.backbone(detector.backbone.normalize(framed)))
        return np.concatenate([reference.up(level.numpy(), (16, 16)) for level in levels], 1).reshape(
            len(samples), -1, 256
        )

    distances = reference.distances(features(widget.train), features(widget.test)).reshape(-1, 16, 16)
    wanted = np.stack([reference.smooth(d, (64, 64)) for d in distances])
    assert np.abs(maps.maps - wanted).max() / wanted.max() < 1e-4
    assert maps.shape == (9, 64, 64)
    assert maps.maps.dtype == np.float32
    assert maps.frame == SMALL.frame


def test_images_in_memory_may_be_floats_of_0_to_1(parts):
    widget = load_category("widget", parts)
    detector = small().fit(widget.train)
    images = next(image_batches(widget.test, SMALL.frame))
    wanted = detector.score(widget.test).maps
    assert np.array_equal(detector.score_images(images).maps, wanted)
    assert np.array_equal(detector.score_images(images / 255).maps, wanted)
    with pytest.raises(OptionError, match="floats from 0 to 1, not float32"):
        detector.score_images(images.astype(np.float32))


def test_defects_are_found(parts):
    widget = load_category("widget", parts)
    report = evaluate(small().fit(widget.train).score(widget.test), widget.test)
    assert report.metrics["image_auroc"] == 1.0
    assert report.metrics["pixel_auroc"] > 0.9


def test_learning_in_parts_or_on_two_machines_is_learning_at_once(parts):
    widget = load_category("widget", parts)
    whole = small().fit(widget.train).score(widget.test).maps
    in_parts = small().fit(widget.train[:5]).partial_fit(widget.train[5:]).score(widget.test).maps
    merged = small().fit(widget.train[7:]).merge(small().fit(widget.train[:7])).score(widget.test).maps
    for other in (in_parts, merged):
        assert np.abs(whole - other).max() / whole.max() < 1e-5
    with pytest.raises(OptionError, match="same settings"):
        small().fit(widget.train).merge(small(eps=0.1).fit(widget.train))


def test_three_forms_one_answer_and_the_cheapest_is_taken(parts):
    widget = load_category("widget", parts)
    fitted = {form: small(form=form).fit(widget.train) for form in ("multi-resolution", "low-rank", "dense")}
    maps = {form: detector.score(widget.test).maps for form, detector in fitted.items()}
    for form in ("low-rank", "dense"):
        assert np.abs(maps[form] - maps["multi-resolution"]).max() / maps["multi-resolution"].max() < 1e-4, form
        assert fitted[form].facts["form"] == form
    assert fitted["dense"].gaussians_.bytes > fitted["multi-resolution"].gaussians_.bytes
    every = replace(SMALL, selection=Selection("all"))
    twice = widget.train * 2
    two, many = (PaDiM.from_settings(every, "cpu").fit(samples) for samples in (twice[:2], twice))
    assert isinstance(two.gaussians_, LowRankGaussians)
    assert isinstance(many.gaussians_, PatchGaussians)
    grown = two.partial_fit(twice[2:])
    assert isinstance(grown.gaussians_, PatchGaussians)
    assert grown.count == 24
    assert np.abs(grown.score(widget.test).maps - many.score(widget.test).maps).max() < 1e-3
    with pytest.raises(OptionError, match="did you mean 'low-rank'"):
        small(form="lowrank")


def test_a_low_rank_detector_is_saved_and_merged_like_any_other(parts, tmp_path):
    widget = load_category("widget", parts)
    low_rank = small(form="low-rank").fit(widget.train)
    again = PaDiM.load(low_rank.save(tmp_path / "low-rank.safetensors"), device="cpu")
    assert np.array_equal(low_rank.score(widget.test), again.score(widget.test))
    merged = small(form="low-rank").fit(widget.train[:5]).merge(small(form="low-rank").fit(widget.train[5:]))
    assert np.abs(merged.score(widget.test).maps - low_rank.score(widget.test).maps).max() < 1e-3


def test_a_saved_detector_comes_back_the_same(parts, tmp_path, monkeypatch):
    widget = load_category("widget", parts)
    detector = small().fit(widget.train)
    detector.calibrate(widget.train, 0.1)
    path = detector.save(tmp_path / "deep" / "model.safetensors")
    again = PaDiM.load(path, device="cpu")
    assert np.array_equal(detector.score(widget.test), again.score(widget.test))
    assert again.threshold_ == detector.threshold_
    assert again.settings == detector.settings
    assert np.array_equal(again.held_out_scores(widget.train), detector.held_out_scores(widget.train))
    monkeypatch.setattr("padim_nb.padim.statistics.KEPT_IMAGES", 5)  # of more images the file holds no features
    again = PaDiM.load(detector.save(path), device="cpu")
    assert again.held_out_scores(widget.train) == pytest.approx(detector.held_out_scores(widget.train), rel=1e-3)
    with pytest.raises(ModelError, match="holds no sums to add images to"):
        again.merge(detector)
    with pytest.raises(ModelError, match="holds no sums to add images to"):
        again.partial_fit(widget.train)
    with pytest.raises(ModelError, match="holds no sums of images to merge"):
        detector.merge(again)
    assert np.array_equal(again.fit(widget.train).score(widget.test), detector.score(widget.test))


@pytest.mark.parametrize("how", ["cut", "text", "foreign", "format", "none"])
def test_a_file_that_is_no_whole_model_is_one_line(parts, tmp_path, how):
    path = tmp_path / "model.safetensors"
    small().fit(load_category("widget", parts).train).save(path)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    elif how == "text":
        path.write_text("hello")
    elif how == "foreign":
        from safetensors.numpy import save_file

        save_file({"a": np.zeros(3)}, path)
    elif how == "format":
        path.write_bytes(path.read_bytes().replace(b"padim-nb/padim/1", b"padim-nb/padim/9"))
    else:
        path.unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors") as error:
        PaDiM.load(path)
    assert "\n" not in str(error.value)


def test_the_threshold_comes_from_good_images_alone(parts):
    widget = load_category("widget", parts)
    detector = small().fit(widget.train)
    largest = detector.calibrate(widget.train, 0.01)
    assert "too few for a 1.0% false-alarm rate" in largest.note
    many = detector.calibrate(widget.train, 0.25)
    assert not many.note
    assert conformal(detector.held_out_scores(widget.train), 0.25) == many
    assert detector.fit(widget.train, 0.25).threshold_ == many
    assert many.value <= largest.value
    scores = detector.score(widget.test).scores
    assert (scores[4:] > largest.value).all()
    for bad in (0, 1, -1, math.nan):
        with pytest.raises(OptionError, match="share between 0 and 1"):
            detector.calibrate(widget.train, bad)


def test_a_threshold_in_the_same_pass_asks_the_network_once_for_each_image(parts, monkeypatch):
    widget, seen = load_category("widget", parts), []
    detector = small()
    features = detector.extract
    monkeypatch.setattr(detector, "extract", lambda framed: seen.append(len(framed)) or features(framed))
    threshold = detector.fit(widget.train, 0.1).threshold_
    assert sum(seen) == len(widget.train)
    assert threshold.images == len(widget.train)
    before = detector.score(widget.test).maps
    with pytest.raises(ModelError, match="at least 3 good images, there are 2"):
        detector.fit(widget.train[:2], 0.1)
    for bad in (0, 1, 2, math.nan):
        with pytest.raises(OptionError, match="share between 0 and 1"):
            detector.fit(widget.train, bad)
    assert detector.threshold_ == threshold, "what is refused forgets nothing"
    assert np.array_equal(detector.score(widget.test).maps, before)


def test_non_square_and_other_sizes(parts):
    widget = load_category("widget", parts)
    maps = small(frame=Frame((96, 128))).fit(widget.train).score(widget.test)
    assert maps.shape == (9, 96, 128)
    odd = small(frame=Frame((72, 104))).fit(widget.train).score(widget.test)  # grids that do not nest
    assert odd.shape == (9, 72, 104)
    assert np.isfinite(odd).all()


def test_constant_images_are_no_trouble(tmp_path):
    for number in range(4):
        path = write_image(tmp_path / "flat" / "train" / "good" / f"{number}.png", (64, 64))
        from PIL import Image

        Image.new("RGB", (64, 64), (90, 90, 90)).save(path)
    maps = small().fit(load_category("flat", tmp_path).train).score(load_category("flat", tmp_path).train).maps
    assert np.abs(maps).max() < 1e-2


def test_what_cannot_be_is_one_clear_line(parts):
    widget = load_category("widget", parts)
    with pytest.raises(ModelError, match="has not been fitted"):
        small().score(widget.test)
    with pytest.raises(ModelError, match="at least 2 good images, not 1"):
        small().fit(widget.train[:1])
    with pytest.raises(ModelError, match="nothing to fit"):
        small().fit([])
    with pytest.raises(OptionError, match="cannot choose d = 99 of 62 channels"):
        small(selection=Selection("random", 99, 0))
    with pytest.raises(ModelError, match="fitted on images of 64x64, not 32x32"):
        small().fit(widget.train).score_images(np.zeros((1, 32, 32, 3), np.uint8))
    detector = small()
    detector.backbone.normalize = lambda batch, std: torch.full((len(batch), 3, 64, 64), float("nan"))
    with pytest.raises(DataError, match=r"000\.png on are not finite"):
        detector.fit(widget.train)
    with pytest.raises(OptionError, match="no device 'gpu'"):
        pick_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(OptionError, match="no CUDA device"):
            pick_device("cuda")


SHAPES = {  # dimensions of a patch vector, side of the map, finest grid
    "padim-gabor": (62, 256, 64),
    "padim-lite0": (152, 256, 32),
    "padim-random": (100, 256, 64),
    "padim-r18-rd100": (100, 224, 56),
    "padim-wr50-rd550": (550, 224, 56),
    "padim-effb5-paper": (344, 224, 56),
    "padim-r18-anomalib": (100, 256, 64),
    "padim-wr50-anomalib": (550, 256, 64),
    **{f"padim-tf-net{n}{end}": (1000, 224, 28 if n == 2 else 14) for n in (1, 2, 3) for end in ("", "-fixed")},
    **{f"padim-effb7-{at}": (352, 224, 56) for at in ("fst", "md", "lst")},
    **{f"padim-effb4-{at}": (248, 224, 56) for at in ("fst", "md", "lst")},
}


# What takes longest of all recipes, 12 to 40 s each, runs in `make torture`.
LARGE = ("padim-tf-net2", "padim-tf-net3")
NAMES = [name for name in RECIPES if name.startswith("padim")]


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.torture] * (name in LARGE)) for name in NAMES])
def test_every_recipe_runs_with_random_weights_and_has_the_published_shape(name, parts):
    d, side, grid = SHAPES[name]
    weights = None if name == "padim-gabor" else "random"
    detector = recipe(name, weights, device="cpu")
    widget = load_category("widget", parts)
    maps = detector.fit(widget.train[:3]).score(widget.test[3:5])
    assert detector.embedding.d == d
    assert maps.shape == (2, side, side)
    assert detector.gaussians_.grids[-1] == (grid, grid)
    assert (maps.maps >= 0).all()
    seed = detector.settings.seed
    assert detector.backbone.weights["name"] == ("formula" if weights is None else f"random-{seed}")


def test_seeds_are_exact_and_the_recipe_keeps_its_own():
    own = recipe("padim-r18-rd100", "random")
    assert own.settings.selection.seed == 1024
    same, other = (recipe("padim-r18-rd100", "random", seed=seed) for seed in (1024, 7))
    assert same.embedding.chosen == own.embedding.chosen
    assert other.embedding.chosen != own.embedding.chosen
    assert other.backbone.weights["sha256"] != own.backbone.weights["sha256"]
    assert hasattr(own.backbone.network, "layer3")
    assert not hasattr(own.backbone.network, "layer4")


def test_missing_and_wrong_weights_name_both_ways_on(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"resnet18-f37072fd\.pth, 45 MB.*weights get resnet18.*--weights PATH"):
        recipe("padim-r18-rd100")
    with pytest.raises(WeightsError, match="no weights file"):
        recipe("padim-r18-rd100", str(tmp_path / "none.pth"))
    (tmp_path / "bad.safetensors").write_text("hello")
    with pytest.raises(WeightsError, match="not a readable weights file"):
        recipe("padim-r18-rd100", str(tmp_path / "bad.safetensors"))
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not fit this network"):
        recipe("padim-r18-rd100", str(tmp_path / "other.pth"))
    torch.save({"a": os.system}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="refused"):
        recipe("padim-r18-rd100", str(tmp_path / "evil.pth"))
    with pytest.raises(OptionError, match="takes no weights"):
        recipe("padim-gabor", "imagenet")
    with pytest.raises(OptionError, match="did you mean 'padim-gabor'"):
        recipe("padim-gabro")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real images and weights are not here")
def test_the_real_weights_load_and_see():
    detector = recipe("padim-r18-rd100", str(REAL / "resnet18_imagenet_layers1-3_bn_folded.safetensors"))
    screw = load_category("screw", REAL / "mvtec_screw_256")
    assert (len(screw.train), len(screw.test)) == (320, 160)
    detector.fit(screw.train[:12])
    assert np.isfinite(detector.score(screw.test[:2]).maps).all()


@pytest.mark.parametrize("form", ["multi-resolution", "low-rank"])
def test_a_bad_image_leaves_the_detector_as_it_was(form, parts, monkeypatch):
    widget = load_category("widget", parts)
    settings = replace(RECIPES["padim-r18-rd100"].settings, weights="random", form=form, batch=2)
    detector = PaDiM.from_settings(settings, "cpu").fit(widget.train[:6])
    before = np.asarray(detector.score(widget.test))
    widget.train[9].image.write_bytes(b"no image")
    extracted = []
    extract = detector.extract
    monkeypatch.setattr(detector, "extract", lambda images: extracted.append(len(images)) or extract(images))
    with pytest.raises(DataError):
        detector.partial_fit(widget.train[6:])
    assert extracted == [2], "a batch of good images comes before the bad one"
    assert detector.count == 6
    assert np.array_equal(detector.score(widget.test), before)
    whole = recipe("padim-r18-rd100", "random", device="cpu").fit(widget.train[:9]).score(widget.test).maps
    assert np.allclose(detector.partial_fit(widget.train[6:9]).score(widget.test), whole, rtol=1e-3)


def test_settings_stay_as_they_are_and_decide_everything(parts):
    detector = small()
    with pytest.raises(AttributeError, match="no setter"):
        detector.settings = replace(detector.settings, frame=Frame((32, 32)))
    assert detector.settings == SMALL
    widget = load_category("widget", parts)
    other = PaDiM(replace(SMALL, frame=Frame((32, 48)), batch=3, sigma=0.0), detector.backbone).fit(widget.train)
    maps = other.score(widget.test)
    assert maps.shape == (9, 32, 48)
    assert maps.frame == other.settings.frame == Frame((32, 48))


def test_a_backbone_that_is_passed_in_serves_any_number_of_detectors(parts):
    widget = load_category("widget", parts)
    network = backbone("efficientnet-lite0")
    settings = replace(SMALL, backbone="efficientnet-lite0")
    before = {name: tensor.clone() for name, tensor in (*network.state_dict().items(), ("std", network.std))}
    quirky = replace(settings, quirks=("input over root of deviation",))
    maps = [PaDiM(own, network).fit(widget.train).score(widget.test).maps for own in (quirky, settings, quirky)]
    assert np.array_equal(maps[0], maps[2])
    assert not np.array_equal(maps[0], maps[1])
    assert all(
        torch.equal(tensor, dict(network.state_dict(), std=network.std)[name]) for name, tensor in before.items()
    )


def test_detectors_of_other_images_or_weights_are_not_merged(parts):
    widget = load_category("widget", parts)
    square, wide = (small(frame=Frame(64)).fit(samples) for samples in (widget.train[:5], widget.train[5:]))
    wide.size_ = (64, 96)
    with pytest.raises(OptionError, match=r"images of \(64, 64\) cannot be merged with images of \(64, 96\)"):
        square.merge(wide)
    settings = PaDiMSettings("resnet18", Frame((64, 64)), Selection("random", 20, 0), weights="random")
    one = PaDiM(settings, backbone("resnet18", "random", 0)).fit(widget.train)
    two = PaDiM(settings, backbone("resnet18", "random", 1)).fit(widget.train)
    with pytest.raises(OptionError, match="same weights"):
        one.merge(two)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("form", ["multi-resolution", "low-rank"])
def test_detectors_on_two_devices_are_merged(form, parts):
    widget = load_category("widget", parts)
    settings = replace(SMALL, form=form)
    whole = PaDiM.from_settings(settings, "cpu").fit(widget.train).score(widget.test).maps
    for first, second in (("cpu", "cuda"), ("cuda", "cpu")):
        one, two = (PaDiM.from_settings(settings, device) for device in (first, second))
        merged = one.fit(widget.train[:5]).merge(two.fit(widget.train[5:]))
        assert np.abs(merged.score(widget.test).maps - whole).max() < 1e-3


def test_images_can_be_added_one_at_a_time(parts):
    widget = load_category("widget", parts)
    detector = small()
    for sample in widget.train:
        detector.partial_fit([sample])
    whole = small().fit(widget.train).score(widget.test).maps
    assert np.abs(detector.score(widget.test).maps - whole).max() / whole.max() < 1e-5


def test_weights_named_relative_to_one_folder_are_found_from_another(parts, tmp_path, monkeypatch):
    widget = load_category("widget", parts)
    torch.save(backbone("resnet18", "random", 5).network.state_dict(), tmp_path / "net.pth")
    monkeypatch.chdir(tmp_path)
    settings = PaDiMSettings("resnet18", Frame((64, 64)), Selection("random", 20, 0), weights="net.pth")
    detector = PaDiM.from_settings(settings, "cpu").fit(widget.train[:3])
    path = detector.save(tmp_path / "model.safetensors")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    again = PaDiM.load(path, device="cpu")
    assert again.settings == settings
    assert np.array_equal(again.score(widget.test[:2]), detector.score(widget.test[:2]))
    (tmp_path / "net.pth").rename(tmp_path / "moved.pth")
    with pytest.raises(WeightsError, match=r"no weights file net\.pth"):
        PaDiM.load(path, device="cpu")
    PaDiM.load(path, str(tmp_path / "moved.pth"), "cpu")


def test_a_header_of_huge_images_is_refused_without_computing_them(parts, tmp_path, monkeypatch):
    widget = load_category("widget", parts)
    path = small().fit(widget.train[:3]).save(tmp_path / "model.safetensors")
    header, tensors = read_model(path, "padim")
    del header["format"]
    write_model(path, "padim", header | {"size": [16000, 16000]}, tensors)
    infer, devices = Backbone.infer, []
    monkeypatch.setattr(Backbone, "infer", lambda self, x: devices.append(x.device.type) or infer(self, x))
    with pytest.raises(ModelError, match="not a whole model file"):
        PaDiM.load(path, device="cpu")
    assert set(devices) <= {"meta"}
