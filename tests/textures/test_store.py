"""Procedural images: the same ones from any kind of script, with and without a cache."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from padim_nb.errors import OptionError
from padim_nb.textures import KINDS, procedural_images, programs
from padim_nb.util.files import cache_root

SCRIPT = "from padim_nb.textures import procedural_images\nprint(procedural_images(40, 16).sum())\n"


TORTURE = pytest.mark.torture  # an import of torch each: one of the ways is enough for every day


@pytest.mark.parametrize("way", [pytest.param("file", marks=TORTURE), pytest.param("-c", marks=TORTURE), "stdin"])
def test_they_are_rendered_from_a_plain_script_without_a_main_guard(way, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = {"file": [str(tmp_path / "script.py")], "-c": ["-c", SCRIPT], "stdin": ["-"]}[way]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PADIM_NB_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, *command], input=SCRIPT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == procedural_images(40, 16).sum()


def test_a_longer_array_begins_with_the_shorter_one_and_each_seed_has_its_own():
    images = procedural_images(12, 24, seed=1)
    assert images.shape == (12, 24, 24, 3)
    assert images.dtype == np.uint8
    assert np.array_equal(procedural_images(5, 24, seed=1), images[:5])
    assert not np.array_equal(procedural_images(12, 24, seed=2), images)
    assert {program.kind for program in programs(60)} == set(KINDS)


def test_they_come_from_the_cache_the_second_time():
    images = procedural_images(3, 16)
    (path,) = (cache_root() / "procedural").glob("*.npy")
    np.save(path, np.zeros_like(images))
    assert procedural_images(3, 16).sum() == 0


def test_a_cache_that_cannot_be_written_is_done_without(unwritable, monkeypatch):
    images = np.array(procedural_images(3, 16))
    monkeypatch.setenv("PADIM_NB_CACHE", str(unwritable))
    with pytest.warns(UserWarning, match="cannot write"):
        assert np.array_equal(procedural_images(3, 16), images)


@pytest.mark.parametrize(("count", "side"), [(0, 32), (3, 8)])
def test_nothing_or_nothing_to_see_is_refused(count, side):
    with pytest.raises(OptionError, match=f"cannot render {count} procedural images of {side} px"):
        procedural_images(count, side)
