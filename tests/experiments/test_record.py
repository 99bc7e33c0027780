"""A record holds all that decided its run, and is read back as it was written."""

from dataclasses import replace

import pytest
import torch

from padim_nb import evaluate, load_category, recipe
from padim_nb.experiments.recipes import RECIPES
from padim_nb.experiments.record import fingerprint, plain, read_record
from padim_nb.experiments.run import Stopwatch, _weights_source, detector_of, write_record
from padim_nb.experiments.settings import RunSettings
from padim_nb.experiments.sweep import complete
from padim_nb.features.backbones import backbone


def test_a_record_holds_all_settings_and_a_rerun_finds_it_done(parts, tmp_path):
    settings = RunSettings("widget", "padim-gabor", data=str(parts), out=str(tmp_path / "out"), device="cpu", seed=4)
    widget, watch = load_category("widget", parts), Stopwatch()
    detector = detector_of(settings, widget)
    with watch("fit"):
        detector.fit(widget.train, false_alarm=0.2)
    report = evaluate(detector.score(widget.test), widget.test)
    record = read_record(write_record(settings, widget, detector, report, watch))
    assert record.settings == plain(detector.settings)
    assert record.settings["frame"]["resize"] == [256, 256] and record.settings["seed"] == 4
    assert record.data.fingerprint == fingerprint(widget) and record.data.counts["train"] == 12
    assert record.weights == {**detector.weights, "source": "formula"}
    assert record.threshold == detector.threshold_ and record.per_defect == report.per_defect
    assert record.intervals == report.intervals and record.kind == "own"
    assert str(report) in str(record)
    assert complete(settings) == record
    assert complete(replace(settings, seed=5)) is None


@pytest.mark.parametrize(
    ("name", "weights", "source"),
    [
        ("padim-lite0", None, "imagenet"),
        ("padim-lite0", "imagenet", "imagenet"),
        ("padim-lite0", "random", "random"),
        ("padim-random", None, "random"),
        ("padim-gabor", None, "formula"),
        ("least-squares-student", None, "shipped"),
    ],
)
def test_weights_have_a_source(name, weights, source):
    assert _weights_source(recipe(name, weights, device="cpu")) == source


def test_a_file_of_unknown_weights_is_a_file_whatever_its_name(tmp_path):
    path = tmp_path / "resnet18-f37072fd.pth"
    torch.save(backbone("resnet18", "random").network.state_dict(), path)
    assert _weights_source(recipe("padim-r18-rd100", str(path), device="cpu")) == "file"


def test_a_weights_file_is_known_by_name_and_contents_and_not_by_its_folder(tmp_path):
    settings = recipe("padim-gabor", device="cpu").settings
    for place, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "x.pth").write_bytes(content)
    a, b, c = (plain(replace(settings, weights=str(tmp_path / place / "x.pth")))["weights"] for place in "abc")
    assert a == b != c and a.startswith("x.pth:") and str(tmp_path) not in a
    assert plain(replace(settings, weights="imagenet"))["weights"] == "imagenet"


def test_a_record_says_where_its_recipe_differs_from_what_it_follows(parts, tmp_path, monkeypatch):
    settings = RunSettings("widget", "padim-gabor", data=str(parts), out=str(tmp_path / "out"), device="cpu")
    told = ("another draw of dimensions", "other masks")
    monkeypatch.setitem(RECIPES, "padim-gabor", replace(RECIPES["padim-gabor"], deviations=told))
    widget = load_category("widget", parts)
    detector = detector_of(settings, widget).fit(widget.train)
    report = evaluate(detector.score(widget.test), widget.test)
    record = read_record(write_record(settings, widget, detector, report, Stopwatch({"fit": 1.0})))
    assert record.deviations == told
    assert str(record).endswith("differs: another draw of dimensions\ndiffers: other masks")
