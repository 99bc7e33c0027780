"""score: a line for each image, maps and overlays on request."""

import numpy as np
import pytest
import torch
from making import write_image

from padim_nb import load_category
from padim_nb.cli import main
from padim_nb.data.images import Frame, load_image
from padim_nb.deploy.scoring import score_files
from padim_nb.errors import DataError, OptionError
from padim_nb.evaluation.thresholds import Threshold
from padim_nb.features.backbones import backbone
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.settings import PaDiMSettings, Selection
from padim_nb.util.model_file import write_model

SMALL = PaDiMSettings("gabor", Frame((64, 64)), Selection("random", 20, 0))


@pytest.fixture
def detector(parts):
    widget = load_category("widget", parts)
    fitted = PaDiM.from_settings(SMALL, "cpu").fit(widget.train)
    fitted.calibrate(widget.train, 0.2)
    return fitted


def test_new_images_get_a_line_each_and_overlays_on_request(parts, detector, tmp_path):
    model = detector.save(tmp_path / "m.safetensors")
    new = [parts / "widget" / "test" / "spot", write_image(tmp_path / "new.jpg", (64, 64))]
    lines = list(score_files(model, new, tmp_path / "out", "cpu"))
    assert len(lines) == 4
    assert all("defective" in line for line in lines[:3])
    assert lines[0].endswith("000.png")
    assert all(f"{detector.threshold_.value:#.4g}" in line for line in lines)
    written = {p.name for p in (tmp_path / "out").iterdir()}
    assert written == {f"{n}_{kind}" for n in ("000", "001", "002", "new") for kind in ("map.npy", "overlay.png")}
    assert np.load(tmp_path / "out" / "000_map.npy").shape == (64, 64)
    both = [parts / "widget" / "test" / kind / "000.png" for kind in ("spot", "line")]
    list(score_files(model, both, tmp_path / "two", "cpu"))
    assert (tmp_path / "two" / "spot_000_map.npy").is_file()


def test_scoring_names_what_is_missing(detector, tmp_path):
    model = detector.save(tmp_path / "m.safetensors")
    with pytest.raises(DataError, match=r"none\.png does not exist"):
        list(score_files(model, [tmp_path / "none.png"]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images in"):
        list(score_files(model, [tmp_path / "empty"]))
    image = write_image(tmp_path / "x" / "a.png", (64, 64))
    with pytest.raises(OptionError, match="both be written as"):
        list(score_files(model, [image, image], tmp_path / "out"))


def test_the_threshold_stands_beside_the_verdict(parts, detector, tmp_path):
    image = parts / "widget" / "test" / "good" / "000.png"
    for threshold, sign, verdict in ((0.0841, ">", "defective"), (1e4, "<=", "good")):
        detector.threshold_ = Threshold(threshold, 0.2, 12)
        (line,) = score_files(detector.save(tmp_path / "m.safetensors"), [image], device="cpu")
        score, *words = line.split()
        assert words == [sign, f"{threshold:#.4g}", verdict, str(image)]
        assert float(score) == pytest.approx(detector.score_images(load_image(image)[None]).scores[0], rel=1e-3)
    detector.threshold_ = None
    (line,) = score_files(detector.save(tmp_path / "m.safetensors"), [image], device="cpu")
    assert line.split()[1:] == ["-", str(image)]


def test_a_model_of_weights_given_relative_to_one_folder_is_scored_from_another(parts, tmp_path, monkeypatch, capsys):
    place, image = tmp_path / "there", parts / "widget" / "test" / "spot" / "000.png"
    place.mkdir()
    monkeypatch.chdir(place)
    torch.save(backbone("resnet18", "random").network.state_dict(), "resnet.pth")
    settings = PaDiMSettings("resnet18", Frame((64, 64)), Selection("random", 20, 0), weights="resnet.pth")
    model = PaDiM.from_settings(settings, "cpu").fit(load_category("widget", parts).train).save("m.safetensors")
    model = model.absolute()
    monkeypatch.chdir(tmp_path)
    assert main(["score", str(model), str(image), "--device", "cpu"]) == 0
    (place / "resnet.pth").rename(tmp_path / "moved.pth")
    commands = (["score", str(model), str(image)], ["export", str(model), str(tmp_path / "m.onnx")])
    capsys.readouterr()
    for command in commands:
        assert main([*command, "--device", "cpu"]) == 2
        error = capsys.readouterr().err
        assert "resnet.pth" in error and "--weights" in error and error.count("\n") == 1
    for command in commands:
        assert main([*command, "--device", "cpu", "--weights", "moved.pth"]) == 0
        assert main([*command, "--device", "gpu", "--weights", "moved.pth"]) == 2
    assert "no device 'gpu'" in capsys.readouterr().err


def test_weights_for_a_model_that_holds_its_own_are_refused(tmp_path):
    model = write_model(tmp_path / "m.safetensors", "efficientad", {}, {"a": torch.zeros(1)})
    with pytest.raises(OptionError, match=r"holds all its weights: leave out 'x\.pth'"):
        list(score_files(model, [tmp_path], weights="x.pth"))
