"""Images of another size than a recipe's: what is taken, what is refused, and where the results go."""

import json

import numpy as np
import pytest
from PIL import Image
from small_training import NARROW, teacher_in

from padim_nb import load, load_category, recipe
from padim_nb.cli import main
from padim_nb.deploy.export import export
from padim_nb.deploy.scoring import score_files
from padim_nb.efficientad import pdn
from padim_nb.errors import OptionError
from padim_nb.experiments.recipes import LEAST_EFFICIENTAD, RECIPES, STRIDE, settings_of, size_of
from padim_nb.experiments.run import expect_memory
from padim_nb.experiments.settings import RunSettings
from padim_nb.experiments.sweep import plan
from padim_nb.padim.memory import layers
from padim_nb.padim.settings import PaDiMSettings

FREE = [name for name, row in RECIPES.items() if not row.source]


def test_a_size_is_read_as_it_is_written():
    for size in (512, "512", "512x512", (512, 512), [512]):
        assert size_of(size) == (512, 512)
    assert size_of("512x768") == size_of((512, 768)) == (512, 768), "height x width"
    for wrong in ("512x", "x", "512x768x3", "large", 1.5, (1, 2, 3), "512×768"):
        with pytest.raises(OptionError, match="height x width"):
            size_of(wrong)


@pytest.mark.parametrize("name", FREE)
def test_a_recipe_without_a_published_row_takes_a_size(name):
    settings = settings_of(name, size="304x512")
    assert settings.frame.resize == (304, 512) and settings.frame.crop is None
    if isinstance(settings, PaDiMSettings):
        features = layers(settings, (80, 112))
        assert {layer.shape[-1] * 80 == layer.shape[-2] * 112 for layer in features} == {True}, "grids nest"
        assert features[0].shape[-2:] == (80 // STRIDE, 112 // STRIDE)
    assert settings_of(name, size="") == RECIPES[name].settings


def test_a_size_that_cannot_be_is_refused_in_a_line_that_names_one():
    for name in set(RECIPES) - set(FREE):
        with pytest.raises(OptionError, match="leave out the size"):
            settings_of(name, size=512)
    for size, near in ((48, "64x64"), (2048, "1024x1024"), ("500x512", "496x512"), ((256, 1030), "256x1024")):
        with pytest.raises(OptionError, match=f"in multiples of 16, .* take {near}"):
            settings_of("padim-lite0", size=size)
    with pytest.raises(OptionError, match="256 to 1024 pixels a side, not 128x300: take 256x300"):
        settings_of("least-squares-student", size="128x300")
    assert pdn.LEAST == LEAST_EFFICIENTAD
    with pytest.raises(OptionError, match="leave out the size"):
        RunSettings(recipe="padim-r18-rd100", size="512")
    with pytest.raises(OptionError, match="leave out the size"):
        plan(["padim-lite0", "padim-r18-rd100"], ["cable"], [0], RunSettings().folder, size="512")


def test_every_size_has_a_folder_of_its_own(tmp_path):
    folders = [RunSettings(size=size, seed=seed).folder for size in ("", 512, "512x768") for seed in (-1, 0)]
    assert [folder.name for folder in folders] == [
        f"padim-lite0{size}{seed}" for size in ("", "-size512", "-size512x768") for seed in ("", "-seed0")
    ]
    (run,) = plan(["padim-lite0"], ["cable"], [0], tmp_path, size="512x768")
    assert run.folder == tmp_path / "cable" / "padim-lite0-size512x768-seed0"


def test_a_size_that_needs_more_memory_than_there_is_is_refused(monkeypatch):
    settings = RunSettings("cable", "padim-gabor", size="64", device="cpu")
    told = expect_memory(settings, 10)
    assert str(told).startswith("about ") and "sums of 10 images" in str(told)
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", told.peak - 1)
    with pytest.raises(OptionError, match=r"padim-gabor at 64 px takes up to .* take a smaller size"):
        expect_memory(settings, 10)
    assert expect_memory(RunSettings("cable", "padim-gabor"), 10) is None


def test_a_run_of_another_size_says_what_it_takes_and_its_record_is_no_other_sizes(parts, tmp_path, capsys, no_kernel):
    out = str(tmp_path / "out")
    command = ["run", "widget", "--recipe", "padim-gabor", "--data", str(parts), "--out", out, "--device", "cpu"]
    assert main([*command, "--size", "64x96"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("padim-gabor at 64x96 px: about ") and "sums of 12 images, at most" in told
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["settings"]["frame"]["resize"] == [64, 96]
    assert main(["compare", out]) == 0
    assert "other settings: resize=[64, 96]" in capsys.readouterr().out
    assert main(["figures", out, "--out", str(tmp_path / "figures"), "--data", str(parts)]) == 0
    assert (tmp_path / "figures" / "roc-padim-gabor-size64x96.png").is_file()
    with Image.open(tmp_path / "figures" / f"demo-widget-padim-gabor-size64x96-seed{record['seed']}.gif") as demo:
        assert demo.size == (4 * (256 + 6) + 6, 171 + 2 * 6)
    assert main(["score", f"{out}/model.safetensors", str(parts / "widget" / "test" / "spot")]) == 0


def test_an_image_that_is_not_square_is_fitted_scored_and_read_back(parts, tmp_path):
    widget = load_category("widget", parts)
    detector = recipe("padim-random", device="cpu", size=(64, 112)).fit(widget.train, 0.2)
    maps = detector.score(widget.test)
    assert maps.shape == (9, 64, 112)
    again = load(detector.save(tmp_path / "m.safetensors"), device="cpu")
    assert again.size_ == (64, 112)
    assert np.allclose(again.score(widget.test).maps, maps.maps, rtol=1e-4)


def test_efficientad_of_another_size_is_fitted_exported_and_read_back(parts, tmp_path, monkeypatch):
    monkeypatch.setitem(pdn._LAYERS, "small", NARROW)
    widget = load_category("widget", parts)
    detector = recipe("least-squares-student", str(teacher_in(tmp_path)), device="cpu", steps=1, size=(256, 320))
    maps = detector.fit(widget.train[:4], 0.2).score(widget.test[:2])
    assert maps.shape == (2, 256, 320)
    for model in (detector.save(tmp_path / "m.safetensors"), export(detector, tmp_path / "m.onnx")):
        lines = score_files(model, [sample.image for sample in widget.test[:2]], device="cpu")
        assert [float(line.split()[0]) for line in lines] == pytest.approx(list(maps.scores), rel=1e-3)
