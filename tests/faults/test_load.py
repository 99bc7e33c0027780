"""Many images and large ones: memory stays where it was."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.torture

CHILD = """
import re, sys, threading, time
from pathlib import Path
from padim_nb.data.images import Frame
from padim_nb.data.mvtec import load_category
from padim_nb.padim.detector import PaDiM
from padim_nb.deploy.scoring import score_files
from padim_nb.padim.settings import PaDiMSettings, Selection


def watch():  # what the process itself holds: files that are mapped belong to the system, which takes them back
    while True:
        held.append(int(re.search(r"RssAnon:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1e3)
        time.sleep(0.005)


held = []
threading.Thread(target=watch, daemon=True).start()
root, model, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
samples = load_category("part", root).train[:count]
settings = PaDiMSettings("gabor", Frame((256, 256)), Selection("random", 20, 0), batch=8, form="multi-resolution")
detector = PaDiM.from_settings(settings, "cpu")
detector.fit(samples).save(model)
lines = sum(1 for _ in score_files(model, [sample.image for sample in samples], None, "cpu"))
assert lines == count == len(samples)
print(max(held))
"""


def peak(root, model, count):
    command = [sys.executable, "-c", CHILD, str(root), str(model), str(count)]
    # What lies unused between blocks of memory is not what is kept: one arena, and large blocks given back at once.
    plain = os.environ | {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, env=plain, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


@pytest.fixture
def count(kills):
    """300 images; 2,000 with the kills of `make torture`."""
    return max(300, 100 * kills)


@pytest.fixture
def many(tmp_path, count):
    """A category of `count` images: one file under many names."""
    folder = tmp_path / "root" / "part" / "train" / "good"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "00000.png")
    for number in range(1, count):
        os.link(folder / "00000.png", folder / f"{number:05d}.png")
    return tmp_path / "root"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not say what a process holds")
def test_memory_is_steady_however_many_the_images(many, tmp_path, count):
    few, all_of_them = (peak(many, tmp_path / "m.safetensors", number) for number in (100, count))
    kept_if_it_grew = (count - 100) * (64 * 64 * 20 * 4 + 256 * 256 * 7) / 1e6
    assert all_of_them - few < 0.1 * kept_if_it_grew, (few, all_of_them, kept_if_it_grew)


def test_an_image_of_twelve_million_pixels_is_scored_like_any_other(world, tmp_path):
    large = tmp_path / "large.png"
    Image.fromarray(np.tile(np.arange(250, dtype=np.uint8), (3000, 16))).save(large)
    code = "import sys; from padim_nb.cli import main; from padim_nb.util.machine import peak_memory_mb; "
    code += "main(['score', *sys.argv[1:]]); print(peak_memory_mb())"
    model = str(world / "model.safetensors")
    peaks = []
    for image in (world / "ok.png", large):
        done = subprocess.run(
            [sys.executable, "-c", code, model, str(image)], capture_output=True, text=True, check=True
        )
        assert str(image) in done.stdout
        peaks.append(float(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 4 * 3000 * 4000 * 3 / 1e6  # a few copies of the image, nothing per pixel
