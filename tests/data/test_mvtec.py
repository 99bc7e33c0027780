"""Folders into samples: MVTec AD's layout, a folder of one's own, the twin, and all that can be wrong with them."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import write_image, write_mask

from padim_nb import load_category
from padim_nb.data.check import check
from padim_nb.data.mvtec import data_root
from padim_nb.errors import CategoryNotFound, DataError, OptionError, PadimError
from padim_nb.twin import ensure
from padim_nb.util.mvtec_counts import plan, published
from padim_nb.util.twin_marker import MARKER, write_marker


def test_samples_say_what_their_folders_say(parts):
    widget = load_category("widget", parts)
    assert (widget.name, widget.source, widget.root) == ("widget", "folder", parts / "widget")
    assert len(widget.train) == 12
    assert {s.label for s in widget.train} == {0}
    assert [s.defect for s in widget.test] == ["good"] * 4 + ["line"] * 2 + ["spot"] * 3
    assert [s.label for s in widget.test] == [0] * 4 + [1] * 5
    assert all(s.mask.name == f"{s.image.stem}_mask.png" for s in widget.test if s.label)
    assert widget.has_masks


def write_counts(folder: Path, name: str, defects: bool = True) -> Path:
    """As many tiny images as MVTec AD has in a category, each another one."""
    counts = published()[name].images
    defective = counts.defects if defects else {"defective": counts.test - counts.good}
    places = {"train/good": counts.train, "test/good": counts.good}
    places |= {f"test/{defect}": count for defect, count in defective.items()}
    for first, (place, count) in enumerate(places.items()):
        for number in range(count):
            write_image(folder / place / f"{number:03d}.png", (4, 4), seed=1000 * first + number)
    return folder


def test_what_is_mvtec_ad_follows_from_the_contents_and_not_from_a_name(parts):
    (parts / "widget").rename(parts / "cable")
    assert load_category("cable", parts).source == "folder"
    write_counts(parts / "toothbrush", "toothbrush")
    assert load_category("toothbrush", parts).source == "mvtec"
    next((parts / "toothbrush" / "train" / "good").iterdir()).unlink()
    assert load_category("toothbrush", parts).source == "folder"


@pytest.mark.parametrize("marked", ["folder", "root", "nothing, in a cache of before"])
def test_rendered_images_are_the_twin_wherever_their_folder_goes(tmp_path, marked):
    root = tmp_path / ("twin/full-256-0/0123abcd" if "cache" in marked else "mvtec")
    folder = write_counts(root / "toothbrush", "toothbrush")
    if marked != "nothing, in a cache of before":
        write_marker(folder if marked == "folder" else root)
    for place in (root, folder):
        assert load_category("toothbrush", place).source == "twin"
    (tmp_path / "link").symlink_to(folder)
    assert load_category("toothbrush", tmp_path / "link").source == "twin"
    rows = [f"{image},train,good" for image in folder.glob("train/good/*")]
    (tmp_path / "own.csv").write_text("\n".join(["image,split,label", *rows]), encoding="utf-8")
    assert load_category("own", tmp_path / "own.csv").source == "twin"
    assert check(root).categories[0].expected == "twin, full"


def test_a_twin_of_another_seed_is_kept_apart_and_says_its_seed_wherever_it_goes(tmp_path, monkeypatch):
    monkeypatch.setenv("PADIM_NB_CACHE", str(tmp_path / "cache"))

    def render(folder, category, kind, size, seed, workers):
        write_counts(folder, category)

    monkeypatch.setattr("padim_nb.twin.store._render_all", render)
    first, own = (load_category("toothbrush", root) for root in ("twin", "twin:seed=7"))
    assert (first.source, own.source) == ("twin", "twin:seed=7")
    assert first.root != own.root and own.root.parts[-3] == "lite-256-7"
    assert load_category("toothbrush", "twin:full:seed=7").root.parts[-3] == "full-256-7"
    shutil.copytree(own.root, tmp_path / "handed on")
    assert load_category("toothbrush", tmp_path / "handed on").source == "twin:seed=7"
    (own.root / MARKER).unlink()
    assert load_category("toothbrush", own.root).source == "twin:seed=7", "known by its place in the cache"
    assert [category.name for category in check("twin:seed=7").categories] == ["toothbrush"]
    assert data_root("twin:seed=0") == "twin:lite"
    for wrong in ("twin:seed=", "twin:seed=-1", "twin:seed=x"):
        with pytest.raises(DataError, match="give twin:seed=7"):
            load_category("toothbrush", wrong)


def test_the_twins_folder_given_as_data_is_the_twin(twin_cache):
    folder = ensure("toothbrush")
    (folder / MARKER).unlink()  # as an earlier version rendered it
    ensure("toothbrush")
    assert (folder / MARKER).is_file()
    assert load_category("toothbrush", folder).source == "twin"


def test_one_category_is_not_taken_for_every_other(parts, tmp_path, monkeypatch):
    widget = parts / "widget"
    assert load_category("widget", widget).root == widget
    for place in (widget, parts / "link"):
        if place != widget:
            place.symlink_to(widget)
            assert load_category("link", place).train
        with pytest.raises(CategoryNotFound, match=r"holds one category, 'widget', not 'bottle': give its name"):
            load_category("bottle", place)
    monkeypatch.chdir(widget)
    assert load_category("widget", ".").train
    with pytest.raises(CategoryNotFound, match="not 'carpet'"):
        load_category("carpet", ".")
    shrunk = write_counts(tmp_path / "mvtec_toothbrush_256", "toothbrush", defects=False)
    assert load_category("toothbrush", shrunk).source == "mvtec"


def test_a_table_of_one_category_is_not_taken_for_mvtec_ads(parts):
    rows = [f"{image.relative_to(parts)},train,good" for image in (parts / "widget" / "train").rglob("*.png")]
    table = parts / "cable.csv"
    table.write_text("\n".join(["image,split,label", *rows]), encoding="utf-8")
    assert load_category("any-name", table).train and load_category("cable", table).source == "folder"
    with pytest.raises(CategoryNotFound, match="lists other images than MVTec AD's 'carpet'"):
        load_category("carpet", table)


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
    widget = load_category("widget", parts / "widget")
    assert not widget.has_masks
    assert all(s.mask is None for s in widget.test)
    shutil.rmtree(parts / "widget" / "test")
    assert load_category("widget", parts).test == ()


def test_masks_may_carry_the_images_own_name_and_endings_any_case(tmp_path):
    write_image(tmp_path / "train" / "good" / "a.PNG")
    write_image(tmp_path / "test" / "dent" / "b.JPG")
    write_mask(tmp_path / "ground_truth" / "dent" / "b.png")
    (bad,) = load_category(tmp_path.name, tmp_path).test
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
        category = load_category(root.name, root)
    except PadimError as error:
        assert str(error)
    else:
        assert category.train
        assert all(s.image.is_file() for s in (*category.train, *category.test))
