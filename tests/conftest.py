"""Shared by all tests: a cache of their own, small folders of parts, a folder that cannot be written."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from making import write_parts


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test sees or fills the user's cache, or a data root of this machine."""
    monkeypatch.setenv("PADIM_NB_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("PADIM_NB_DATA", raising=False)


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
    """A file system with space for a few images only."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system to fill up")
    yield from _mounted(folder, "size=64k")


def _mounted(folder: Path, options: str):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not allow mounting a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


LONGEST = ("test_sweep.py", "test_detector.py")  # first, so that the workers of `make pytest` end together


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=2, help="how often a kill test kills (make torture: 20)")
    parser.addoption("--seed", type=int, default=None, help="of the torture tests' random moments (default: a new one)")


settings.register_profile("quick", max_examples=50, deadline=None)
settings.register_profile("torture", max_examples=200, deadline=None)


def pytest_configure(config):
    if config.option.seed is None:
        config.option.seed = int.from_bytes(os.urandom(4), "little")
    settings.load_profile("quick" if config.getoption("-m") == "not torture" else "torture")


def pytest_report_header(config):
    return f"torture: --kills {config.option.kills} --seed {config.option.seed}"


@pytest.fixture
def kills(request) -> int:
    """How often a kill test kills its process."""
    return request.config.getoption("--kills")


@pytest.fixture
def rng(request) -> np.random.Generator:
    """Random numbers whose seed pytest's header shows: `--seed` repeats them."""
    return np.random.default_rng(request.config.getoption("--seed"))
