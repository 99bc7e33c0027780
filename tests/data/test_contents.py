"""Hashes of what files hold: replaced files are seen, a second look reads nothing."""

import os
import shutil
import time

import numpy as np
import pytest
from making import write_image, write_mask
from PIL import Image

from padim_nb import load_category
from padim_nb.data import contents
from padim_nb.data.contents import content_hashes
from padim_nb.experiments.record import fingerprint
from padim_nb.util.files import cache_root, sha256


def as_bitmaps(folder, seed):
    """Images of one size in bytes, whatever they show, and of one time."""
    rng = np.random.default_rng(seed)
    for number in range(3):
        path = folder / "train" / "good" / f"{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)
        os.utime(path, (1e9, 1e9))
    return load_category(folder.name, folder)


def test_a_replaced_image_of_the_same_size_and_time_is_another(tmp_path):
    first = fingerprint(as_bitmaps(tmp_path / "part", 0))
    assert fingerprint(load_category("part", tmp_path / "part")) == first
    assert fingerprint(as_bitmaps(tmp_path / "part", 1)) != first
    shutil.copytree(tmp_path / "part", tmp_path / "elsewhere" / "part")
    assert fingerprint(as_bitmaps(tmp_path / "elsewhere" / "part", 0)) == first


def test_a_second_look_reads_nothing_and_a_young_file_is_not_trusted(tmp_path, monkeypatch):
    paths = [sample.image for sample in as_bitmaps(tmp_path / "part", 0).train]
    first = content_hashes(paths)
    assert first == [sha256(path) for path in paths]
    with monkeypatch.context() as patched:
        patched.setattr(contents, "sha256", lambda path: pytest.fail("read again"))
        assert content_hashes(paths) == first
    os.utime(paths[0], (time.time(), time.time()))
    reads = []
    monkeypatch.setattr(contents, "sha256", lambda path: reads.append(path) or sha256(path))
    for _ in range(2):
        assert content_hashes(paths) == first
    assert len(reads) == 2 * len(paths)


def test_damaged_hashes_and_a_cache_that_cannot_be_written_cost_only_time(tmp_path, monkeypatch):
    paths = [sample.image for sample in as_bitmaps(tmp_path / "part", 0).train]
    first = content_hashes(paths)
    for place in (cache_root() / "contents").iterdir():
        place.write_text("[")
    assert content_hashes(paths) == first
    (tmp_path / "file").touch()
    monkeypatch.setenv("PADIM_NB_CACHE", str(tmp_path / "file"))
    assert content_hashes(paths) == first


def test_a_mask_in_a_folder_a_config_and_a_label_in_a_table_count(tmp_path):
    box = tmp_path / "box"
    write_image(box / "train" / "good" / "0.png")
    write_image(box / "test" / "bad" / "0.png", seed=1)
    mask = write_mask(box / "ground_truth" / "bad" / "0" / "000.png")
    seen = {fingerprint(load_category("box", box))}
    write_mask(mask, marked=False)
    seen.add(fingerprint(load_category("box", box)))
    (box / "defects_config.json").write_text("[]")
    seen.add(fingerprint(load_category("box", box)))
    for label in ("dent", "scratch"):
        table = tmp_path / "parts.csv"
        table.write_text(f"image,split,label\nbox/train/good/0.png,train,good\nbox/test/bad/0.png,test,{label}\n")
        seen.add(fingerprint(load_category("parts", table)))
    assert len(seen) == 5
