"""Finished runs as pictures: what is drawn is what was measured, and a run that does not fit is refused."""

import json

import numpy as np
import pytest
from PIL import Image

from padim_nb import load_category
from padim_nb.cli import main
from padim_nb.data.maps import AnomalyMaps
from padim_nb.evaluation import metrics
from padim_nb.experiments.showcase import demo, finished, five_panels, precision_chart, roc_sheet


@pytest.fixture
def run(parts, tmp_path, monkeypatch):
    """A run's folder as `padim-nb run` leaves it, with maps that are right half of the time."""
    monkeypatch.setenv("PADIM_NB_DATA", str(parts))
    category = load_category("widget")
    g = np.random.default_rng(0)
    labels = np.array([s.label for s in category.test])
    maps = (g.random((len(labels), 256, 256)) + 0.5 * labels[:, None, None] * g.random((len(labels), 1, 1))).astype(
        "f4"
    )
    folder = tmp_path / "runs" / "widget"
    folder.mkdir(parents=True)
    record = {
        "recipe": "padim-lite0",
        "category": "widget",
        "seed": 1024,
        "data": {"name": "folder"},
        "metrics": {"image_auroc": 0.9},
        "threshold": {"value": 1.2, "false_alarm": 0.01, "images": 12, "note": ""},
        "n_train": len(category.train),
        "n_test": len(labels),
    }
    (folder / "record.json").write_text(json.dumps(record))
    AnomalyMaps.of(maps).save(folder / "maps.safetensors")
    return folder


def test_the_command_writes_every_picture(run, tmp_path, capsys):
    assert main(["figures", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    stem = "widget-padim-lite0-seed1024"
    assert names == [f"demo-{stem}.gif", f"panels-{stem}.png", f"precision-{stem}.png", "roc-padim-lite0.png"]
    assert capsys.readouterr().out.count("\n") == 4
    with Image.open(tmp_path / "out" / f"demo-{stem}.gif") as frames:
        assert frames.n_frames == 9, "every test image"
    with Image.open(demo(finished([tmp_path])[0], tmp_path / "short.gif", most=4)) as frames:
        assert frames.n_frames == 4


def test_what_is_drawn_is_what_was_measured(run, tmp_path):
    (only,) = finished([tmp_path])
    left, right = roc_sheet([only]).axes
    scores = only.maps.scores
    assert f"{metrics.auroc(scores, only.labels):.3f}" in left.get_legend().get_texts()[0].get_text()
    pixel = metrics.auroc(only.maps.maps.ravel(), only.truth.ravel())
    assert f"{pixel:.3f}" in right.get_legend().get_texts()[0].get_text()
    assert f"F1 {metrics.best_f1(scores, only.labels)[0]:.3f}" in precision_chart(only).axes[0].get_title(loc="left")
    assert len(five_panels(only).axes) == 4 * 5


def changed(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_run_in_another_frame_is_drawn_in_its_own(run, tmp_path):
    settings = {"frame": {"resize": [256, 256], "crop": 200, "resample": "bilinear", "mask_resample": "nearest"}}
    changed(run / "record.json", settings=settings)
    maps = np.random.default_rng(0).random((len(finished([tmp_path])[0].maps), 200, 200))
    AnomalyMaps.of(maps).save(run / "maps.safetensors")
    (only,) = finished([tmp_path])
    assert only.truth.shape == only.maps.shape == only.images.shape[:3]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda run: (run / "record.json").write_text("{"), "not a readable record"),
        (lambda run: (run / "record.json").write_text("[]"), "not a readable record"),
        (lambda run: (run / "maps.safetensors").unlink(), "no maps.safetensors"),
        (lambda run: (run / "maps.safetensors").write_bytes(b"x"), "holds no anomaly maps"),
        (lambda run: AnomalyMaps.of(np.zeros((3, 4, 4))).save(run / "maps.safetensors"), "other images"),
        (lambda run: (run / "record.json").unlink(), "no finished run"),
        (lambda run: changed(run / "record.json", data={"name": "folder", "fingerprint": "0"}), "other images"),
        (lambda run: changed(run / "record.json", recipe="padim-noise"), "names a recipe this version does not know"),
    ],
    ids=["half a record", "a list", "no maps", "broken maps", "other maps", "nothing", "other images", "no recipe"],
)
def test_a_run_that_does_not_fit_is_refused(run, tmp_path, capsys, change, words):
    change(run)
    assert main(["figures", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err
