"""score: a line for each image, maps and overlays on request."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from making import write_image

from padim_nb import load_category
from padim_nb.cli import main
from padim_nb.data.images import Frame, load_image
from padim_nb.data.mvtec import Sample
from padim_nb.deploy.export import export
from padim_nb.deploy.scoring import score_files
from padim_nb.errors import DataError, ModelError, OptionError
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


def test_the_exact_p_value_stands_beside_the_score_where_the_model_has_it(parts, detector, tmp_path, monkeypatch):
    images = [parts / "widget" / "test" / kind / "000.png" for kind in ("good", "spot")]
    samples = [Sample(path, 0, "new") for path in images]
    lines = list(score_files(detector.save(tmp_path / "few.safetensors"), images, device="cpu"))
    wanted = detector.p_values(samples)
    assert wanted[1] == pytest.approx(1 / 13)
    assert [f"p {p:.3f}  " in line for p, line in zip(wanted, lines, strict=True)] == [True, True]
    monkeypatch.setattr("padim_nb.padim.detector.KEPT_IMAGES", 5)
    lines = list(score_files(detector.save(tmp_path / "many.safetensors"), images, device="cpu"))
    assert not any(" p " in line for line in lines)


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


def test_one_bad_file_among_many_stops_no_other_score(parts, detector, tmp_path, capsys):
    model = detector.save(tmp_path / "m.safetensors")
    good = sorted((parts / "widget" / "test" / "good").glob("*.png"))
    expected = list(score_files(model, good, device="cpu"))
    bad = tmp_path / "broken.png"
    bad.write_text("hello")
    asked = [good[0], bad, good[1], tmp_path / "none.png", *good[2:]]
    for out in ([], ["--out", str(tmp_path / "out")]):
        assert main(["score", str(model), *map(str, asked), "--device", "cpu", *out]) == 2
        printed = capsys.readouterr()
        assert [line for line in printed.out.splitlines() if line] == expected
        assert printed.err.count("\n") == 1
        assert "broken.png is not a readable image" in printed.err and "none.png does not exist" in printed.err
    assert len(list((tmp_path / "out").glob("*_map.npy"))) == len(good)


def test_an_image_that_does_not_fit_the_frame_is_named_and_the_others_scored(parts, tmp_path):
    frame = Frame(64)  # of the shorter side: other aspects are of another size
    widget = load_category("widget", parts)
    settings = PaDiMSettings("gabor", frame, Selection("random", 20, 0))
    model = PaDiM.from_settings(settings, "cpu").fit(widget.train).save(tmp_path / "m.safetensors")
    asked = [write_image(tmp_path / "long.png", (64, 128)), widget.test[0].image]
    lines = score_files(model, asked, device="cpu")
    assert next(lines).endswith(str(asked[1]))
    with pytest.raises(DataError, match=r"long\.png is 64x128 in this frame, the detector was fitted on 64x64"):
        next(lines)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_names_that_a_terminal_cannot_show_are_scored(parts, detector, tmp_path, encoding):
    model = detector.save(tmp_path / "m.safetensors")
    place = write_image(tmp_path / "new" / "\u2713.png", (64, 64)).parent
    os.rename(write_image(place / "a.png", (64, 64), seed=1), os.fsencode(place) + b"/\xe9.png")
    command = [sys.executable, "-m", "padim_nb.cli", "score", str(model), str(place), "--device", "cpu"]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2, done.stderr


def test_the_threshold_stands_beside_the_verdict(parts, detector, tmp_path):
    image = parts / "widget" / "test" / "good" / "000.png"
    for threshold, sign, verdict in ((0.0841, ">", "defective"), (1e4, "<=", "good")):
        detector.threshold_ = Threshold(threshold, 0.2, 12)
        (line,) = score_files(detector.save(tmp_path / "m.safetensors"), [image], device="cpu")
        score, *words = line.split()
        assert words[:-3] == [sign, f"{threshold:#.4g}", verdict] and words[-3] == "p" and words[-1] == str(image)
        assert float(score) == pytest.approx(detector.score_images(load_image(image)[None]).scores[0], rel=1e-3)
    detector.threshold_ = None
    (line,) = score_files(detector.save(tmp_path / "m.safetensors"), [image], device="cpu")
    assert line.split()[1] == "-" and line.split()[-1] == str(image)


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


IMPORTED = """
import sys
from padim_nb.cli import main
assert main(sys.argv[2:]) == 0
found = [name for name in sys.argv[1].split(",") if name in sys.modules]
assert not found, found
"""
HEAVY = "matplotlib,seaborn,pandas,sklearn,torchvision,papermill,nbformat,distributed"


def test_scoring_loads_what_it_needs_and_an_exported_detector_does_without_torch(parts, detector, tmp_path):
    saved, exported = detector.save(tmp_path / "m.safetensors"), export(detector, tmp_path / "m.onnx")
    printed = []
    for model, unwanted in ((saved, HEAVY), (exported, f"{HEAVY},torch,scipy,onnx")):
        command = [
            sys.executable,
            "-c",
            IMPORTED,
            unwanted,
            "score",
            str(model),
            str(parts / "widget" / "test" / "good"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    one, other = ([re.split(r"\s+", line) for line in text.splitlines()] for text in printed)
    assert len(one) == 4
    for words, same in zip(one, other, strict=True):
        assert float(words[1]) == pytest.approx(float(same[1]), rel=1e-3)
        assert [*words[2:5], words[-1]] == same[2:], "the exported one has no p-value"
        assert words[5] == "p"


@pytest.mark.parametrize("frame", [Frame((64, 96)), Frame(80, 64)], ids=["not square", "cropped"])
def test_an_exported_detector_writes_the_same_maps_and_overlays(parts, tmp_path, frame):
    widget = load_category("widget", parts)
    settings = PaDiMSettings("gabor", frame, Selection("random", 20, 0))
    fitted = PaDiM.from_settings(settings, "cpu").fit(widget.train, 0.2)
    images = [write_image(tmp_path / "new" / f"{number}.png", (90, 80), seed=number) for number in range(3)]
    for model in (fitted.save(tmp_path / "m.safetensors"), export(fitted, tmp_path / "m.onnx")):
        lines = list(score_files(model, images, tmp_path / model.suffix[1:], "cpu"))
        assert [line.split()[-1] for line in lines] == [str(path) for path in images]
        assert all(f"{fitted.threshold_.value:#.4g}" in line for line in lines)
    for path in sorted((tmp_path / "onnx").glob("*.npy")):
        map_, wanted = np.load(path), np.load(tmp_path / "safetensors" / path.name)
        assert map_.shape == wanted.shape and np.abs(map_ - wanted).max() < 1e-3 * wanted.max()
        overlay, other = (
            load_image(tmp_path / kind / f"{path.name[0]}_overlay.png") for kind in ("onnx", "safetensors")
        )
        assert overlay.shape == (*map_.shape, 3) and np.abs(overlay.astype(int) - other).max() <= 2


def test_an_exported_detector_that_cannot_be_read_is_one_line(detector, tmp_path):
    exported, image = export(detector, tmp_path / "m.onnx"), write_image(tmp_path / "a.png", (64, 64))
    with pytest.raises(OptionError, match=r"holds all its weights: leave out 'x\.pth'"):
        list(score_files(exported, [image], weights="x.pth"))
    with pytest.raises(OptionError, match="no device 'gpu' here"):
        list(score_files(exported, [image], device="gpu"))
    with pytest.raises(ModelError, match=r"no model file .*none\.onnx"):
        list(score_files(tmp_path / "none.onnx", [image]))
    (tmp_path / "bad.onnx").write_text("hello")
    with pytest.raises(ModelError, match="export it again"):
        list(score_files(tmp_path / "bad.onnx", [image]))


def test_images_are_decoded_beside_the_computing_a_bounded_number_ahead(parts, detector, tmp_path, monkeypatch):
    images = [write_image(tmp_path / "new" / f"{number:03d}.png", (64, 64)) for number in range(120)]
    decoded = []
    monkeypatch.setattr(
        "padim_nb.data.images._decode", lambda path: decoded.append(path) or np.zeros((64, 64, 3), "u1")
    )
    monkeypatch.setattr("padim_nb.deploy.scoring.PIXELS", 4 * 64 * 64)
    lines = score_files(detector.save(tmp_path / "m.safetensors"), images, device="cpu")
    next(lines)
    assert 4 < len(decoded) < 60
    assert len(list(lines)) == 119
