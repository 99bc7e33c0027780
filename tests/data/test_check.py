"""check and status: what they report."""

import numpy as np
import pytest
from making import write_mask
from PIL import Image

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
