"""Any nonsense at all: what is read is either read or refused in one line, at once, and nothing lands elsewhere."""

import io
import json
import os
import shutil
import tarfile
from contextlib import suppress

import numpy as np
import pytest
from damage import RECORD, rewritten
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import write_image
from safetensors.numpy import load_file

from padim_nb.cli import main
from padim_nb.data.archive import extract
from padim_nb.data.images import load_image
from padim_nb.data.mvtec import images_in, load_category
from padim_nb.detectors import load
from padim_nb.errors import CategoryNotFound, PadimError
from padim_nb.experiments.record import records
from padim_nb.experiments.settings import RunSettings
from padim_nb.experiments.sweep import plan
from padim_nb.features.weights import read_state

FUZZ = settings(suppress_health_check=list(HealthCheck))  # 50 examples each, 200 in `make torture`
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner), max_leaves=4
)


def changed(value, data):
    """A header or record with one value somewhere in it replaced, added or taken away."""
    kind = data.draw(st.sampled_from(["here", "deeper", "deeper", "deeper"]))
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if kind == "here" or not keys:
        return data.draw(JSON)
    key, what = data.draw(st.sampled_from(keys)), data.draw(st.sampled_from(["change", "change", "lose", "add"]))
    other = value.copy()
    if what == "lose":
        del other[key]
    elif what == "add" and isinstance(other, dict):
        other[data.draw(st.text(max_size=5))] = data.draw(JSON)
    else:
        other[key] = changed(other[key], data)
    return other


def one_line(error):
    assert "\n" not in str(error.value if hasattr(error, "value") else error)


@FUZZ
@given(data=st.data())
def test_any_header_of_a_model_is_understood_or_refused(data, world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    path = rewritten(world / "model.safetensors", folder / "m.safetensors", header=lambda h: changed(h, data))
    try:
        maps = load(path, device="cpu").score_images(np.zeros((1, 64, 64, 3), np.uint8))
        assert np.isfinite(maps.maps).all()
    except PadimError as error:
        one_line(error)


@FUZZ
@given(data=st.data())
def test_any_damage_to_a_models_or_weights_bytes_is_found_or_harmless(data, world, tmp_path_factory):
    whole = bytearray((world / "model.safetensors").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, 3000) | st.integers(0, len(whole) - 1))
        whole[where] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / "m.safetensors"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole)
    with suppress(PadimError):
        load(path, device="cpu")
    with suppress(PadimError):
        read_state(path)


@FUZZ
@given(data=st.data())
def test_any_tensors_of_a_model_fit_or_are_refused(data, world, tmp_path_factory):
    def spoiled(tensors):
        name = data.draw(st.sampled_from(sorted(tensors)))
        shape = data.draw(st.lists(st.integers(0, 5), max_size=3))
        return tensors | {name: np.zeros(shape, data.draw(st.sampled_from([np.float32, np.int8, np.float64])))}

    path = tmp_path_factory.mktemp("fuzz") / "m.safetensors"
    rewritten(world / "model.safetensors", path, tensors=spoiled)
    with pytest.raises(PadimError) as refused:
        load(path, device="cpu")
    one_line(refused)
    assert load_file(path)


@FUZZ
@given(data=st.data())
def test_any_record_is_read_or_refused(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "record.json").write_text(json.dumps(changed(RECORD, data)), encoding="utf-8", errors="surrogatepass")
    try:
        assert len(records([folder])) <= 1
    except PadimError as error:
        one_line(error)


NAMES = st.sampled_from(
    ["widget/train/good/0.png", "../x", "/tmp/x", "widget/../../x", "a\nb/train/good/1.png", "widget", "widget/train",
     "./widget/train/good/2.png", "//x", "x" * 300, "widget/train/good/" + "y" * 300, "\\x", ".", "", "é/train/good/3"]
) | st.text(st.characters(codec="utf-8"), max_size=12)  # fmt: skip
TYPES = st.sampled_from([tarfile.REGTYPE] * 6 + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])


@FUZZ
@given(members=st.lists(st.tuples(NAMES, TYPES, st.binary(max_size=20)), max_size=6), data=st.data())
def test_any_archive_is_unpacked_below_its_place_or_refused(members, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    packed = io.BytesIO()
    mode = data.draw(st.sampled_from(["w", "w:gz", "w:xz", "w:bz2"]))
    with tarfile.open(fileobj=packed, mode=mode) as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name.replace("\0", ""))
            info.type, info.linkname, info.size = kind, "../../../x", len(content) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(content))
    content = bytearray(packed.getvalue())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path, into = folder / "a.tar", folder / "deep" / "er" / "data"
    path.write_bytes(content)
    try:
        extract(path, into)
    except PadimError as error:
        assert "Traceback" not in str(error)
    assert {path.name for path in folder.iterdir()} <= {"a.tar", "deep"}
    assert [
        path.name for path in (folder / "deep").rglob("*") if path.is_symlink() or path.name.startswith(".ex")
    ] == []
    assert {path.name for path in (folder / "deep").iterdir()} <= {"er"}


@FUZZ
@given(name=st.text(max_size=20) | st.sampled_from(["../../x", "..", "a/b", "a\\b", "x" * 5000, "wid\nget", "\udcff"]))
def test_any_category_name_is_found_or_refused_and_names_no_place_elsewhere(name, world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.raises(CategoryNotFound) as refused:
        load_category(name, world / "root")
    one_line(refused)
    try:
        place = folder / RunSettings(category=name).folder
    except CategoryNotFound:
        with pytest.raises(CategoryNotFound):
            plan(["padim-gabor"], [name], [0], folder)
    else:
        assert place.resolve().is_relative_to((folder / "runs").resolve())


@FUZZ
@given(content=st.binary(max_size=200), start=st.integers(0, 400))
def test_any_bytes_are_an_image_or_are_refused(content, start, world, tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "x.png"
    whole = (world / "ok.png").read_bytes()
    path.write_bytes(whole[:start] + content + whole[start + len(content) :])
    try:
        assert load_image(path).shape[2] == 3
    except PadimError as error:
        one_line(error)


def test_links_that_lead_nowhere_or_round_in_circles_are_no_images(tmp_path):
    folder = tmp_path / "part" / "train" / "good"
    write_image(folder / "real.png")
    os.symlink(folder / "loop.png", folder / "loop.png")
    os.symlink("nowhere.png", folder / "dangling.png")
    os.symlink(folder, folder / "round")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    os.symlink("real.png", folder / "good.png")
    assert [path.name for path in images_in(folder)] == ["good.png", "real.png"]
    assert len(load_category("part", tmp_path).train) == 2


def test_names_with_lines_and_spaces_are_only_names(world, tmp_path, capsys):
    odd = tmp_path / "a new\nline.png"
    shutil.copy(world / "ok.png", odd)
    assert main(["score", str(world / "model.safetensors"), str(odd), "--out", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a new\nline_map.npy",
        "a new\nline_overlay.png",
    ]
    (tmp_path / "b\nc.png").write_text("hello")
    assert main(["score", str(world / "model.safetensors"), str(tmp_path / "b\nc.png")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
