"""Distillation: the target is PatchCore's word for word, images come whole from files one by one, training resumes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from making import write_image
from PIL import Image
from safetensors.torch import load_file
from small_training import NARROW
from torch.nn.functional import adaptive_avg_pool1d, interpolate

from padim_nb.cli import main
from padim_nb.efficientad import distillation, pdn
from padim_nb.efficientad.cards import card
from padim_nb.efficientad.distillation import Distillation, TargetFeatures, distill, drawn, photographs
from padim_nb.efficientad.teacher import load_teacher
from padim_nb.errors import DataError, OptionError, WeightsError
from padim_nb.features.backbones import backbone
from padim_nb.util.files import cache_root, sha256

WHOLE = (0.0,) * 5 + (1.0,)  # a draw: the first image of the first source, in color
TINY = Distillation(
    backbone="efficientnet-lite0-expanded", weights="random", images=6, side=32, batch=2, statistics=4, held_out=0.2
)


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setitem(pdn._LAYERS, "small", NARROW)


def patchcore(layers, shape):
    """The description of each place as PatchCore makes it: patches, resizing, two poolings, one after the other."""
    vectors = []
    for layer in layers:
        patches = torch.nn.Unfold(kernel_size=3, stride=1, padding=1)(layer)  # (n, channels * 9, h * w)
        patches = patches.unflatten(2, layer.shape[2:])
        patches = interpolate(patches, size=shape, mode="bilinear", align_corners=False)
        flat = patches.permute(0, 2, 3, 1).flatten(0, 2)  # (n * h * w, channels * 9)
        vectors.append(adaptive_avg_pool1d(flat[:, None], 1024)[:, 0])
    both = torch.stack(vectors, dim=1)  # (n * h * w, 2, 1024)
    pooled = adaptive_avg_pool1d(both.reshape(len(both), 1, -1), 384)
    return pooled.reshape(len(layers[0]), *shape, 384).permute(0, 3, 1, 2)


def test_the_target_is_patchcores_description_word_for_word():
    net = backbone("efficientnet-lite0-expanded")
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        layers = net(net.normalize(images))  # as this network wants its input, not by ImageNet's mean
        assert [layer.shape[1] for layer in layers] == [240, 672]
        wanted = patchcore(layers, (8, 8))
        features = TargetFeatures(net, (8, 8)).raw(images)
    assert torch.allclose(features, wanted, atol=1e-5 * wanted.abs().max())
    fine = patchcore([layers[0], torch.zeros_like(layers[1])], (8, 8))
    assert torch.allclose(features[:, :192], fine[:, :192], atol=1e-5 * wanted.abs().max()), "half of each layer"


def test_the_standardized_target_has_mean_0_and_deviation_1():
    target = TargetFeatures(backbone("efficientnet-lite0-expanded"), (8, 8))
    images = torch.randint(0, 256, (6, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    target.standardize(images.split(4))
    with torch.inference_mode():
        features = target(images)
    assert features.mean((0, 2, 3)).abs().max() < 1e-4
    assert (features.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-3


def test_a_folders_images_are_resized_whole_and_keep_their_colors(tmp_path):
    path = write_image(tmp_path / "images" / "wide.png", (90, 200))
    write_image(tmp_path / "images" / "z.png", (50, 50))
    settings = replace(TINY, source=(str(tmp_path / "images"),), held_out=0.5)
    source = distillation._source(settings.source[0], settings)
    source.learned = np.array([0])
    small, large = drawn([source], settings, WHOLE)
    whole = Image.open(path)
    assert np.array_equal(small.numpy(), np.asarray(whole.resize((32, 32), Image.BILINEAR)))
    assert np.array_equal(large.numpy(), np.asarray(whole.resize((64, 64), Image.BILINEAR)))
    _, gray = drawn([source], settings, (0.0,) * 6)
    assert (gray[..., 0] == gray[..., 1]).all()
    cropped = replace(settings, crop=0.5)
    _, part = drawn([source], cropped, WHOLE)
    assert np.array_equal(part.numpy(), np.asarray(whole.resize((64, 64), Image.BILINEAR, (0, 0, 100, 45))))


def test_files_are_decoded_when_they_are_drawn_and_a_broken_one_is_named(tmp_path, narrow):
    for number in range(4):
        (tmp_path / "broken" / f"{number}.png").parent.mkdir(exist_ok=True)
        (tmp_path / "broken" / f"{number}.png").write_bytes(b"no image")
    settings = replace(TINY, source=(str(tmp_path / "broken"),))
    assert len(distillation._source(settings.source[0], settings).images) == 4
    with pytest.raises(DataError, match=r"^\S*\d\.png is not a readable image .*replace or remove it$"):
        distill(tmp_path / "out", settings, steps=1)


def test_a_distillation_goes_on_from_given_weights_and_its_card_names_them(tmp_path, narrow):
    first = distill(tmp_path / "first", TINY, steps=3)
    path = distill(tmp_path / "second", replace(TINY, start=str(first), rate=1e-12), steps=1)
    card = json.loads(path.with_suffix(".json").read_text())
    before = json.loads(first.with_suffix(".json").read_text())
    assert card["start"] == {"name": first.name, "sha256": sha256(first), "card": before}
    wanted = load_file(first)
    for name, value in load_file(path).items():
        torch.testing.assert_close(value, wanted[name], rtol=2e-3, atol=1e-6)
    with pytest.raises(WeightsError, match=r"none\.safetensors"):
        distill(tmp_path / "third", replace(TINY, start=str(tmp_path / "none.safetensors")), steps=1)


def test_decoded_files_stay_in_memory_as_far_as_they_fit(tmp_path, monkeypatch):
    for number in range(3):
        write_image(tmp_path / "images" / f"{number}.png", (20, 20))
    settings, read = replace(TINY, source=(str(tmp_path / "images"),)), []
    source = distillation._source(settings.source[0], settings)
    load_image = distillation.load_image
    monkeypatch.setattr(distillation, "DECODED", 2 * 20 * 20 * 3)
    monkeypatch.setattr(distillation, "load_image", lambda path: read.append(path.name) or load_image(path))
    rounds = [[source.image(index) for index in range(3)] for _ in range(3)]
    assert read == ["0.png", "1.png", "2.png", "2.png", "2.png"]
    assert all(a == b for row in rounds[1:] for a, b in zip(rounds[0], row, strict=True))


def test_each_source_holds_images_out_and_bad_sources_are_refused(tmp_path, narrow):
    write_image(tmp_path / "one" / "0.png")
    for source, message in (
        (str(tmp_path / "one"), "1 images in .*give at least 2"),
        (str(tmp_path / "none"), "no source folder"),
    ):
        with pytest.raises(DataError, match=message):
            distill(tmp_path / "out", replace(TINY, source=(source,)), steps=1)
    source = distillation._source("procedural", replace(TINY, images=20))
    assert (len(source.learned), len(source.held_out)) == (16, 4)
    assert not set(source.learned) & set(source.held_out)
    assert len(photographs()) > 5
    for values in ({"side": 30}, {"crop": 0.0}, {"source": ()}, {"images": 1}, {"batch": 0}, {"gray": 2.0}):
        with pytest.raises(OptionError, match=f"Distillation: {next(iter(values))}: "):
            replace(TINY, **values)


def test_one_command_makes_a_teacher_from_lite0_with_its_card(tmp_path, narrow, capsys):
    command = f"distill --backbone efficientnet-lite0-expanded --source procedural photographs --images 6 --side 32 \
        --steps 2 --device cpu --out {tmp_path} --set batch=2 statistics=4 crop=0.5 bf16=false"
    assert main(command.split()) == 0
    path = tmp_path / "pdn-small-efficientnet-lite0-expanded.safetensors"
    assert capsys.readouterr().out.strip() == str(path)
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["sha256"] == sha256(path)
    assert facts["steps"] == 2
    assert facts["images seen"] == 4
    assert facts["taught by"] == backbone("efficientnet-lite0").weights
    assert {name.split()[1] for name in facts["held-out loss"]} == {"procedural", "photographs"}
    assert all(0 < loss < 100 for loss in facts["held-out loss"].values())
    assert set(card("pdn-small")) - {"command", "debian-photographs"} <= set(facts)
    teacher, _ = load_teacher("small", str(path))
    assert torch.isfinite(teacher(torch.rand(1, 3, 256, 256))).all()
    assert main([*command.split(), "seeds=1"]) == 2
    assert "did you mean 'seed'" in capsys.readouterr().err


def test_the_teacher_is_written_where_the_recipes_look_for_it(narrow, monkeypatch):
    tiny = backbone("resnet18", "random")
    monkeypatch.setattr(distillation, "backbone", lambda name, weights: tiny)
    path = distill(None, replace(TINY, backbone="wide_resnet101_2"), steps=1)
    assert cache_root() in path.parents
    assert load_teacher("small")[1] == {"name": path.name, "sha256": sha256(path)}


def test_a_stopped_distillation_goes_on_and_ends_with_the_same_weights(tmp_path, narrow, monkeypatch):
    straight = load_file(distill(tmp_path / "straight", TINY, steps=3))
    loss, calls = distillation._loss, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return loss(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(distillation, "_loss", stopping)
        with pytest.raises(KeyboardInterrupt):
            distill(tmp_path / "stopped", TINY, steps=3, every=0.0)
    resumed = load_file(distill(tmp_path / "stopped", TINY, steps=3, every=0.0))
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)
    with pytest.raises(OptionError, match=r"other settings or images \(rate\)"):
        distill(tmp_path / "stopped", replace(TINY, rate=1e-3), steps=3)


def test_a_distillation_of_other_files_under_the_same_names_is_not_gone_on_with(tmp_path, narrow):
    for seed in range(3):
        write_image(tmp_path / "photos" / f"{seed}.png", (64, 64), seed=seed)
    settings = replace(TINY, source=(str(tmp_path / "photos"),))
    distill(tmp_path, settings, steps=1)
    write_image(tmp_path / "photos" / "0.png", (64, 72), seed=5)
    with pytest.raises(OptionError, match=r"other settings or images \(files\)"):
        distill(tmp_path, settings, steps=1)
