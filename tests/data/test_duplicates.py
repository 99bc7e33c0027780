"""Photographs of one part that nobody declared are noticed; different parts are not taken for one."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from padim_nb import load_category
from padim_nb.cli import main
from padim_nb.data.duplicates import clusters, duplicate_note, near_duplicates


def write_photographs(folder, parts, shots, seed=0):
    """Smooth parts of their own pattern, moved by up to two pixels and lit a little differently."""
    rng, good = np.random.default_rng(seed), folder / "train" / "good"
    good.mkdir(parents=True)
    for part in range(parts):
        pattern = 120 + 500 * gaussian_filter(rng.normal(0, 1, (128, 128)), 6, mode="wrap")
        for shot in range(shots):
            moved = np.roll(pattern, rng.integers(-2, 3, size=2), axis=(0, 1)) * rng.uniform(0.9, 1.1)
            noisy = np.clip(moved + rng.normal(0, 2, moved.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(good / f"part{part}-{shot}.png")
    return folder


def test_photographs_of_one_part_are_told_with_the_first_pairs(tmp_path, capsys):
    folder = write_photographs(tmp_path / "nut", 6, 3)
    train = load_category("nut", folder).train
    together = near_duplicates(train)
    assert sorted(cluster.tolist() for cluster in together) == [[3 * k, 3 * k + 1, 3 * k + 2] for k in range(6)]
    note = duplicate_note(train)
    assert "18 of 18 training images look like 6 parts photographed several times" in note and note.count(".png") == 6
    assert "--group" in note and "\n" not in note
    assert main(["data", "check", str(folder)]) == 0
    assert note in capsys.readouterr().out
    assert main(["data", "check", str(folder), "--group", "part."]) == 0
    assert "look like" not in capsys.readouterr().out
    wrong = [replace(sample, group="all") for sample in train[:9]]
    assert len(near_duplicates((*wrong, *train[9:]))) == 3


def test_different_parts_are_not_taken_for_one(tmp_path, parts):
    assert not duplicate_note(load_category("nut", write_photographs(tmp_path / "nut", 18, 1)).train)
    assert not duplicate_note(load_category("widget", parts).train)


def test_one_pair_among_many_is_not_told(tmp_path):
    folder = write_photographs(tmp_path / "nut", 18, 1)
    good = folder / "train" / "good"
    Image.open(good / "part3-0.png").save(good / "part3-1.png")
    assert duplicate_note(load_category("nut", folder).train) == ""


@pytest.mark.filterwarnings("ignore")  # copies
def test_images_that_are_all_the_same_are_no_error(tmp_path):
    folder = write_photographs(tmp_path / "nut", 1, 1)
    good = folder / "train" / "good"
    for shot in range(1, 6):
        Image.open(good / "part0-0.png").save(good / f"part0-{shot}.png")
    assert duplicate_note(load_category("nut", folder).train) == ""
    assert clusters(np.zeros((2, 2))) == []
