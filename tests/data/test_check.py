"""check and status: what they report."""

import shutil

import numpy as np
import pytest
from making import write_mask, write_parts
from PIL import Image

from padim_nb import evaluate, load_category
from padim_nb.cli import main
from padim_nb.data.check import check, status
from padim_nb.errors import DataError


def test_a_whole_folder_is_whole(parts):
    report = check(parts)
    assert report.ok
    assert "everything is whole" in str(report)
    assert (report.categories[0].train, report.categories[0].good, report.categories[0].defective) == (12, 4, 5)


def test_every_kind_of_damage_is_reported_with_its_fix(parts):
    widget = parts / "widget"
    truth = widget / "ground_truth"
    (widget / "train" / "good" / "003.png").write_text("hello")
    (truth / "spot" / "000_mask.png").unlink()
    write_mask(truth / "spot" / "001_mask.png", (32, 32))
    write_mask(truth / "spot" / "002_mask.png", (64, 64), marked=False)
    write_mask(truth / "line" / "stray.png", (64, 64))
    (truth / "line" / "000_mask.png").write_text("hello")
    report = check(parts)
    text = str(report)
    for words in (
        "003.png is not a readable image",
        "has no mask: put it at",
        "differ in size (32x32 and 64x64)",
        "marks nothing",
        "belongs to no image",
        "000_mask.png is not a readable image",
    ):
        assert words in text, words
    assert len(report.problems) == 6
    assert "6 problems found" in text


def test_counts_of_mvtec_ads_categories_are_compared(parts):
    (parts / "widget").rename(parts / "bottle")
    text = str(check(parts))
    assert "12 images where MVTec AD has 209" in text
    assert "differ" in text


def test_check_needs_something_to_check(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="holds no category"):
        check(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="nothing of the lite twin is rendered yet"):
        check()
    assert "in use: the twin (lite)" in status()


def test_status_names_the_root_in_use_and_what_is_missing(parts, monkeypatch):
    monkeypatch.setenv("PADIM_NB_DATA", str(parts))
    text = status()
    assert f"in use: {parts}: widget" in text
    assert "missing of MVTec AD's fifteen: bottle, cable" in text


def test_a_scale_that_is_not_known_is_reported_with_its_own_fix(parts):
    Image.fromarray(np.full((64, 64), 200, dtype=np.float32)).save(parts / "widget" / "train" / "good" / "999.tif")
    assert "999.tif holds values 200 to 200, not 0 to 1: rescale it, or save it with 8 bits" in str(check(parts))


def test_status_asks_for_no_version_of_a_category_that_is_not_rendered(monkeypatch):
    monkeypatch.setattr("padim_nb.twin.store.version", lambda category: pytest.fail(f"version of {category}"))
    assert "twin (lite): 0 of 15 categories rendered" in status()


def test_copies_between_training_and_test_are_told_with_both_paths(parts, tmp_path):
    train, good = (parts / "widget" / place for place in ("train/good", "test/good"))
    shutil.copy(train / "003.png", good / "another name.png")
    shutil.copy(train / "003.png", train / "twice.png")
    shutil.copy(good / "000.png", parts / "widget" / "test" / "good" / "again.png")  # in test alone: not a problem
    report = check(parts)
    assert set(report.problems) == {
        f"{copy} is a copy of {train / '003.png'}: remove one of them"
        for copy in (good / "another name.png", train / "twice.png")
    }
    assert not report.ok and "2 problems found" in str(report)
    with pytest.warns(UserWarning, match=r"twice\.png is a copy of .*003\.png and 1 more: `padim-nb data check`"):
        load_category("widget", parts)
    table = tmp_path / "parts.csv"
    names = [f"{train / '000.png'},train,good", f"{train / '001.png'},train,good", f"{train / '000.png'},test,dent"]
    table.write_text("\n".join(["image,split,label", *names]), encoding="utf-8")
    assert check(table).problems == (f"{train / '000.png'} is listed twice",)


def test_a_missing_mask_is_allowed_on_request_and_what_is_not_judged_is_said(parts):
    truth = parts / "widget" / "ground_truth"
    (truth / "spot" / "001_mask.png").unlink()
    with pytest.raises(DataError, match=r"has no mask: put it at .*, or write a file .*masks-may-be-missing\.txt"):
        load_category("widget", parts)
    (truth / "masks-may-be-missing.txt").touch()
    test = load_category("widget", parts).test
    assert sum(sample.mask is None for sample in test if sample.label) == 1
    report = check(parts)
    assert report.ok and "note: 1 defective images of widget have no mask" in str(report)
    judged = evaluate(np.random.default_rng(0).random((len(test), 64, 64)), test)
    assert judged.metrics["image_auroc"] is not None and judged.metrics["pixel_auroc"] is None
    assert "1 of 5 defective images have no mask: no pixel is judged, image-level metrics only" in judged.notes
    write_mask(truth / "spot" / "000_mask.png", (8, 8))  # one that is there is checked as ever
    with pytest.raises(DataError, match="differ in size"):
        load_category("widget", parts)


def test_columns_fit_long_names(parts):
    long = "a_very_long_name_of_a_category"
    (parts / "widget").rename(parts / long)
    write_parts(parts / "b")
    rows = [line for line in str(check(parts)).splitlines() if line.endswith(("your own", "counts"))]
    assert len({line.index(words) for line, words in zip(rows, ("counts", "your own", "your own"), strict=True)}) == 1


def test_a_category_is_checked_from_inside_its_folder(parts, monkeypatch, capsys):
    monkeypatch.chdir(parts / "widget")
    assert main(["data", "check", "."]) == 0
    assert "widget" in capsys.readouterr().out.splitlines()[2]
    monkeypatch.chdir(parts / "widget" / "test")
    assert main(["data", "check", ".."]) == 0
