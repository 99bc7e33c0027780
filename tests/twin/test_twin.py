"""The twin: complete, deterministic, exact masks, whole or not at all."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from padim_nb.data.check import check
from padim_nb.errors import CannotWrite, CategoryNotFound
from padim_nb.twin import ensure, part, render, twin_root
from padim_nb.twin.store import jobs
from padim_nb.util.mvtec_counts import CATEGORIES, plan, published

SIZE = 96


def bytes_of(folder: Path) -> dict[str, str]:
    """Every file below a folder with its hash."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_published_table_is_the_known_one():
    table = published()
    assert len(table) == 15
    assert sum(p.images.train for p in table.values()) == 3629
    assert sum(p.images.good for p in table.values()) == 467
    assert sum(sum(p.images.defects.values()) for p in table.values()) == 1258
    assert sum(len(p.images.defects) for p in table.values()) == 73
    assert sum(p.regions for p in table.values()) == 1888


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_defect_folder_has_its_edit_and_grey_is_grey(category):
    rules = part(category)
    assert set(rules.defects) == set(published()[category].images.defects)
    assert rules.grey == published()[category].gray


@pytest.mark.parametrize("category", CATEGORIES)
def test_masks_are_exact_by_construction(category):
    rules = part(category)
    for defect in rules.defects:
        for index in range(2):
            picture = render(rules, "test", defect, index, size=SIZE)
            assert picture.mask.any(), f"{defect} {index} has an empty mask"
            assert picture.mask.mean() < 0.75
            outside = ~binary_dilation(picture.mask, iterations=2)
            assert np.array_equal(picture.image[outside], picture.good[outside]), f"{defect} {index}"
            inside = np.abs(picture.image[picture.mask].astype(int) - picture.good[picture.mask])
            assert inside.max() > 3, f"{defect} {index} cannot be seen"


@pytest.mark.parametrize("category", CATEGORIES)
def test_good_ones_differ_from_each_other_and_not_from_themselves(category):
    first, again = (render(part(category), "train", "good", 0, size=64) for _ in range(2))
    other = render(part(category), "train", "good", 1, size=64)
    elsewhere = render(part(category), "test", "good", 0, size=64)
    seeded = render(part(category), "train", "good", 0, seed=1, size=64)
    assert np.array_equal(first.image, again.image)
    assert not first.mask.any()
    for different in (other, elsewhere, seeded):
        assert not np.array_equal(first.image, different.image)
    assert first.image.std() > 5, "an empty picture"


@pytest.mark.parametrize("category", ["cable", "screw", "leather"])
def test_the_scene_is_the_same_at_any_size(category):
    small = render(part(category), "train", "good", 3, size=128).image.astype(float)
    large = render(part(category), "train", "good", 3, size=512).image.astype(float)
    reduced = large.reshape(128, 4, 128, 4, 3).mean(axis=(1, 3))
    blurred = [a.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3)).ravel() for a in (small, reduced)]
    assert np.corrcoef(*blurred)[0, 1] > 0.9


def test_same_bytes_with_any_number_of_workers_and_from_processes_that_render_at_once(tmp_path):
    environment = os.environ | {"PADIM_NB_CACHE": str(tmp_path / "both"), "PYTHONPATH": str(Path(__file__).parents[2])}
    code = "from padim_nb.twin import ensure; print(ensure('toothbrush', size=64, workers={}))"
    commands = [[sys.executable, "-c", code.format(workers)] for workers in (1, 3)]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for command in commands]
    assert [process.wait() for process in both] == [0, 0]
    (folder,) = (tmp_path / "both").rglob("toothbrush")
    files = bytes_of(folder)
    assert len(files) == 60 + 20 + 30 + 30 + 1  # the marker
    rules = part("toothbrush")
    for split, defect, index in jobs("toothbrush", plan("toothbrush", "lite"))[::7]:
        with Image.open(folder / split / defect / f"{index:03d}.png") as image:
            assert np.array_equal(render(rules, split, defect, index, size=64).image, image)


def test_full_counts_equal_the_published_ones(monkeypatch):
    for category in CATEGORIES:
        wanted = published()[category].images
        every = jobs(category, plan(category, "full"))
        assert len(every) == len(set(every)) == wanted.train + wanted.test
    folder = ensure("toothbrush", "full", size=64)
    report = check(folder.parent)
    assert report.ok
    assert report.categories[0].expected == "twin, full"


def test_an_unknown_category_is_refused_before_anything_is_made():
    with pytest.raises(CategoryNotFound, match="did you mean 'cable'"):
        ensure("cabel")
    assert not twin_root().exists()


def test_a_cache_that_cannot_be_written_is_one_clear_line(unwritable, monkeypatch):
    monkeypatch.setenv("PADIM_NB_CACHE", str(unwritable / "cache"))
    with pytest.raises(CannotWrite, match=r"PADIM_NB_CACHE chooses"):
        ensure("toothbrush", size=64)


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(tiny_disk, monkeypatch):
    monkeypatch.setenv("PADIM_NB_CACHE", str(tiny_disk))
    with pytest.raises(CannotWrite, match="disk is full"):
        ensure("toothbrush", size=64)
    assert not [path for path in tiny_disk.rglob("*") if path.is_file()]


@pytest.mark.torture
def test_a_killed_rendering_is_never_taken_for_whole(tmp_path):
    cache = tmp_path / "cache"
    environment = os.environ | {"PADIM_NB_CACHE": str(cache), "PYTHONPATH": str(Path(__file__).parents[2])}
    code = "from padim_nb.twin import ensure; ensure('toothbrush', size=64)"
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    deadline = time.monotonic() + 60
    while not list(cache.rglob("*.png")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(cache.glob("twin/*/*/toothbrush"))
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    (folder,) = cache.glob("twin/*/*/toothbrush")
    assert len(bytes_of(folder)) == 141
