"""Shared by all tests: a cache of their own, small folders of parts, a folder that cannot be written."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test sees or fills the user's cache, or a data root of this machine."""
    monkeypatch.setenv("PADIM_NB_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("PADIM_NB_DATA", raising=False)


def write_image(path: Path, size=(40, 48), mode="RGB", seed=0) -> Path:
    """A picture of noise, (height, width), in any of Pillow's modes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    if mode == "I;16":
        Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(noise).convert(mode).save(path)
    return path


def write_mask(path: Path, size=(40, 48), marked=True) -> Path:
    """A mask with one square marked, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, dtype=np.uint8)
    if marked:
        mask[10:20, 12:24] = 255
    Image.fromarray(mask).save(path)
    return path


def write_parts(folder: Path) -> Path:
    """A category: smooth good ones, defects with a bright square or line and its mask; returns the root above."""
    rng = np.random.default_rng(0)
    base = np.linspace(60, 160, 64)[None, :, None] + np.zeros((64, 64, 3))
    for place, count in (("train/good", 12), ("test/good", 4), ("test/spot", 3), ("test/line", 2)):
        for number in range(count):
            picture = base + rng.normal(0, 6, base.shape)
            mask = np.zeros((64, 64), dtype=np.uint8)
            if place.endswith("spot"):
                mask[20:32, 30:44] = 255
            elif place.endswith("line"):
                mask[40:43, 5:60] = 255
            picture[mask > 0] = 250
            target = folder / place / f"{number:03d}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(target)
            if mask.any():
                truth = folder / "ground_truth" / place[5:] / f"{number:03d}_mask.png"
                truth.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(truth)
    return folder.parent


@pytest.fixture
def parts(tmp_path) -> Path:
    """A data root with one small category 'widget'."""
    return write_parts(tmp_path / "root" / "widget")


@pytest.fixture
def unwritable(tmp_path):
    """A folder that refuses to be written, also for root."""
    folder = tmp_path / "unwritable"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield folder
        folder.chmod(0o700)
        return
    yield from _mounted(folder, "ro")


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system with room for a few pictures only."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system to fill up")
    yield from _mounted(folder, "size=64k")


def _mounted(folder: Path, options: str):
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("this machine does not allow mounting a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=2, help="how often a kill test kills (make torture: 20)")


@pytest.fixture
def kills(request) -> int:
    """How often a kill test kills its process."""
    return request.config.getoption("--kills")
