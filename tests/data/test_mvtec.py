"""Folders into samples: MVTec AD's layout, a folder of one's own, the twin, and all that can be wrong with them."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import write_image, write_mask

from padim_nb import load_category
from padim_nb.data.mvtec import data_root
from padim_nb.errors import CategoryNotFound, DataError, OptionError, PadimError
from padim_nb.util.mvtec_counts import plan


def test_samples_say_what_their_folders_say(parts):
    widget = load_category("widget", parts)
    assert (widget.name, widget.source, widget.root) == ("widget", "folder", parts / "widget")
    assert len(widget.train) == 12
    assert {s.label for s in widget.train} == {0}
    assert [s.defect for s in widget.test] == ["good"] * 4 + ["line"] * 2 + ["spot"] * 3
    assert [s.label for s in widget.test] == [0] * 4 + [1] * 5
    assert all(s.mask.name == f"{s.image.stem}_mask.png" for s in widget.test if s.label)
    assert widget.has_masks


def test_a_name_of_mvtec_ad_is_told_as_such(parts):
    (parts / "widget").rename(parts / "cable")
    assert load_category("cable", parts).source == "mvtec"


def test_the_root_is_argument_then_environment_then_twin(parts, monkeypatch, tmp_path):
    monkeypatch.setenv("PADIM_NB_DATA", str(parts))
    assert load_category("widget").root == parts / "widget"
    assert data_root("twin:full") == "twin:full"
    monkeypatch.delenv("PADIM_NB_DATA")
    monkeypatch.chdir(tmp_path)
    assert data_root() == "twin:lite"
    usual = tmp_path / "data" / "mvtec_anomaly_detection"
    shutil.copytree(parts, usual)
    below = tmp_path / "notebooks"
    below.mkdir()
    monkeypatch.chdir(below)
    assert data_root() == usual
    assert load_category("widget").root == usual / "widget"


def test_the_twin_steps_in_and_says_so(monkeypatch, tmp_path, twin_cache):
    monkeypatch.chdir(tmp_path)
    brush = load_category("toothbrush")
    wanted = plan("toothbrush", "lite")
    assert brush.source == "twin"
    assert (len(brush.train), len(brush.test)) == (wanted.train, wanted.test)
    assert brush.has_masks


def test_a_single_folder_of_ones_own_may_have_no_masks_and_no_tests(parts):
    shutil.rmtree(parts / "widget" / "ground_truth")
    widget = load_category("anything", parts / "widget")
    assert not widget.has_masks
    assert all(s.mask is None for s in widget.test)
    shutil.rmtree(parts / "widget" / "test")
    assert load_category("widget", parts).test == ()


def test_masks_may_carry_the_images_own_name_and_endings_any_case(tmp_path):
    write_image(tmp_path / "train" / "good" / "a.PNG")
    write_image(tmp_path / "test" / "dent" / "b.JPG")
    write_mask(tmp_path / "ground_truth" / "dent" / "b.png")
    (bad,) = load_category("own", tmp_path).test
    assert bad.mask.name == "b.png"


@pytest.mark.parametrize("name", ["../../x", "/etc", "a\nb", "", "..", "a/b", "a\\b", "a\0b"])
def test_odd_names_are_refused(name, parts):
    with pytest.raises(CategoryNotFound, match="plain name"):
        load_category(name, parts)


def broken(parts: Path, how: str) -> None:
    widget = parts / "widget"
    if how == "no good ones":
        shutil.rmtree(widget / "train" / "good")
        (widget / "train" / "good").mkdir()
    elif how == "mask missing":
        (widget / "ground_truth" / "spot" / "001_mask.png").unlink()
    elif how == "mask of another size":
        write_mask(widget / "ground_truth" / "spot" / "001_mask.png", (32, 32))
    elif how == "mask no image":
        (widget / "ground_truth" / "spot" / "001_mask.png").write_text("hello")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no good ones", r"no images in .*train/good.*put the good ones there"),
        ("mask missing", r"spot/001\.png has no mask: put it at .*spot/001_mask\.png"),
        ("mask of another size", r"001_mask\.png and its image .* differ in size \(32x32 and 64x64\)"),
        ("mask no image", r"001_mask\.png is not a readable image"),
    ],
)
def test_what_is_broken_is_named_with_its_fix(parts, how, words):
    broken(parts, how)
    with pytest.raises(DataError, match=words) as error:
        load_category("widget", parts)
    assert "\n" not in str(error.value)


def test_unknown_things_name_the_nearest(parts, tmp_path, monkeypatch):
    with pytest.raises(CategoryNotFound, match="did you mean 'widget'"):
        load_category("wigdet", parts)
    with pytest.raises(CategoryNotFound, match="did you mean 'cable'"):
        load_category("cabel", "twin")
    with pytest.raises(OptionError, match="did you mean 'full'"):
        load_category("cable", "twin:fulll")
    with pytest.raises(DataError, match="is not a folder"):
        load_category("cable", tmp_path / "nowhere")
    monkeypatch.setenv("PADIM_NB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="from PADIM_NB_DATA"):
        load_category("cable")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no category"):
        load_category("cable", tmp_path / "empty")


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=12
)
PLACES = st.sampled_from(["train/good", "test/good", "test/dent", "ground_truth/dent", "test", "train", "ground_truth"])


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(files=st.lists(st.tuples(PLACES, NAMES, st.sampled_from([".png", ".txt", ".PNG", ""])), max_size=12))
def test_any_tree_loads_or_is_refused_in_one_line(files, tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    for place, name, ending in files:
        path = root / place / f"{name}{ending}"
        if path.exists() or path.name in (".", "..") or len(path.name.encode()) > 200:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if ending.lower() == ".png":
            write_mask(path, (8, 8))
        else:
            path.write_bytes(b"no image")
    try:
        category = load_category("tree", root)
    except PadimError as error:
        assert str(error)
    else:
        assert category.train
        assert all(s.image.is_file() for s in (*category.train, *category.test))
