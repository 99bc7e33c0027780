"""The page of results: it holds what was measured, loads nothing, and says in one line why it cannot be made."""

import json
import re

import numpy as np
import pytest

from padim_nb import load_category
from padim_nb.cli import main
from padim_nb.data.maps import AnomalyMaps
from padim_nb.experiments.page import write_page
from padim_nb.experiments.record import read_record, records
from padim_nb.experiments.showcase import finished

KINDS = ("half a record", "a folder that is not there", "an empty folder", "a file")


@pytest.fixture
def results(parts, tmp_path, monkeypatch):
    """A folder as a sweep leaves it: two runs with maps, one of them also with a page, and one that failed."""
    monkeypatch.setenv("PADIM_NB_DATA", str(parts))
    test = load_category("widget").test
    g = np.random.default_rng(0)
    labels = np.array([sample.label for sample in test])
    for seed, value in ((0, 0.8), (1, 0.9)):
        folder = tmp_path / "my <runs>" / "widget" / f"padim-gabor-seed{seed}"
        folder.mkdir(parents=True)
        maps = g.random((len(labels), 256, 256), "f4") + labels[:, None, None].astype("f4") * g.random()
        AnomalyMaps.of(maps).save(folder / "maps.safetensors")
        record = {"recipe": "padim-gabor", "category": "widget", "seed": seed, "data": {"name": "folder"}}
        record |= {"metrics": {"image_auroc": value, "pixel_auroc": 0.7}, "n_train": 12, "n_test": len(labels)}
        record |= {"intervals": {"image_auroc": [0.6 + 0.1 * seed, 1.0]}, "device": "cpu", "seconds": {"fit": 2.0}}
        record |= {"threshold": {"value": 1.0, "false_alarm": 0.01, "images": 12, "note": ""}}
        (folder / "record.json").write_text(json.dumps(record))
    (folder / "run_category.html").write_text("a page")
    broken = tmp_path / "my <runs>" / "odd" / "padim-gabor-seed0"
    broken.mkdir(parents=True)
    (broken / "error.txt").write_text("000.png is <broken>: replace it\n")
    return tmp_path / "my <runs>"


def test_the_page_holds_what_was_measured_and_loads_nothing(results, capsys):
    assert main(["page", str(results)]) == 0
    assert capsys.readouterr().out.strip() == str(results / "results.html")
    text = (results / "results.html").read_text()
    cells = re.sub(r"\s+", " ", re.sub("<[^>]+>", "|", text))
    assert "0.850 ± 0.071" in cells and "[0.650, 1.000]" in cells and "nothing published" in cells
    assert "2 finished runs, 1 failed" in text and "000.png is &lt;broken&gt;" in text and "my &lt;runs&gt;" in text
    assert re.findall(r'href="([^"]+)"', text) == ["widget/padim-gabor-seed1/run_category.html"]
    images = re.findall(r'<img src="([^"]+)" alt="[^"]{20,}"', text)
    assert len(images) == text.count("<img") == 2, "ROC curves of the recipe, misses of the category"
    assert [image[:15] for image in images] == ["data:image/png;", "data:image/jpeg"]
    assert not re.search(r"https?://|<script|@import|url\(", text)


def test_the_misses_are_the_lowest_scores_of_defective_images(results):
    text = write_page(results).read_text()
    (run,) = finished([results / "widget" / "padim-gabor-seed0"])
    named = re.search(r'alt="([^":]+): images with their masks', text)[1].split(", ")
    pairs = zip(run.category.test, run.maps.scores, strict=True)
    scores = {f"{sample.defect} {sample.image.stem}": score for sample, score in pairs if sample.label}
    assert named == sorted(scores, key=scores.get)[:3]
    assert re.search(r"of\s+5 defective images do not exceed it, \d of 4 good ones do", text)


def test_an_image_on_the_threshold_passes_in_the_page_as_in_a_verdict(results):
    path = results / "widget" / "padim-gabor-seed0" / "record.json"
    (run,) = finished([path.parent])
    lowest = float(run.maps.scores[run.labels == 1].min())
    highest = float(run.maps.scores[run.labels == 0].max())
    for value, words in ((lowest, r"1 of\s+5 defective images do not exceed"), (highest, "0 of 4 good ones do")):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"threshold": record["threshold"] | {"value": value}}))
        assert re.search(words, write_page(results).read_text(encoding="utf-8"))


def test_what_an_unfinished_run_wrote_is_not_shown(results, capsys):
    before = write_page(results).read_text(encoding="utf-8")
    half = results / "widget" / "padim-gabor-seed0" / ".partial-0123"
    half.mkdir()
    (half / "record.json").write_bytes((half.parent / "record.json").read_bytes())
    assert write_page(results).read_text(encoding="utf-8") == before
    assert len(finished([results])) == 2 == len(records([results]))


def test_a_run_without_maps_stays_in_the_tables(results):
    for path in results.rglob("maps.safetensors"):
        path.unlink()
    text = write_page(results).read_text()
    assert "<img" not in text and text.count("has no maps.safetensors") == 2 and "0.850 ± 0.071" in text


def test_published_values_stand_beside_those_measured_on_mvtec_ad(results):
    path = results / "widget" / "padim-gabor-seed0" / "record.json"
    values = json.loads(path.read_text()) | {"recipe": "padim-r18-rd100", "category": "screw"}
    path.write_text(json.dumps(values | {"n_train": 320, "n_test": 160}))
    assert read_record(path).kind == "mvtec"
    row = write_page(results).read_text().split("<td>screw")[1].split("</tr>")[0]
    assert "0.745" in row and "0.800" in row and "+0.055" in row and "one seed, 0.055 higher" in row


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_shown_is_one_line(kind, results, tmp_path, capsys):
    folder = tmp_path / "other"
    if kind == "half a record":
        folder = results
        next(folder.rglob("record.json")).write_text('{"recipe": ')
    elif kind == "an empty folder":
        folder.mkdir()
    elif kind == "a file":
        folder.write_text("")
    assert main(["page", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(folder) in error
    assert not (folder / "results.html").exists()


def test_a_sweep_ends_with_its_page_or_says_why_not(parts, tmp_path, results, capsys):
    sweep = ["sweep", "--recipes", "padim-gabor", "--categories", "absent", "--data", str(parts), "--out"]
    assert main([*sweep, str(results)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == str(results / "results.html")
    assert main([*sweep, str(tmp_path / "new")]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("no page of results: no finished run below")
