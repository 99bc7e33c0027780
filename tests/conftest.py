"""Shared by all tests: caches, small folders of parts, a run without a kernel, a folder that cannot be written."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from making import in_this_process, stand_in, write_parts

SHARED = os.environ.get("PADIM_NB_CACHE")  # `make test`: the cache of the chapters and of the book


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test sees or fills the user's cache, or a data root of this machine."""
    monkeypatch.setenv("PADIM_NB_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("PADIM_NB_DATA", raising=False)


@pytest.fixture
def twin_cache(own_cache, monkeypatch):
    """The twin as the chapters have it: a category that they show is rendered once for them and for the tests."""
    if SHARED:
        monkeypatch.setenv("PADIM_NB_CACHE", SHARED)
    else:
        monkeypatch.delenv("PADIM_NB_CACHE")


@pytest.fixture
def no_kernel(monkeypatch):
    """A run's notebook is executed cell by cell in this process, which saves a kernel that imports torch anew."""
    monkeypatch.setattr("papermill.execute_notebook", in_this_process)


@pytest.fixture
def no_detector(monkeypatch):
    """A run writes its files at once, without a kernel or a detector, for tests of the files alone."""
    monkeypatch.setattr("papermill.execute_notebook", stand_in)
    monkeypatch.setattr("padim_nb.experiments.run.write_html", lambda path: path.rename(path.with_suffix(".html")))


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


GUARD = """
import socket
allowed = socket.socket.connect
def connect(self, address):
    if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        open({log!r}, "a").write(repr(address) + chr(10))
        raise OSError("sockets are forbidden")
    return allowed(self, address)
socket.socket.connect = connect
asked = socket.getaddrinfo
def getaddrinfo(host, *rest, **more):
    if host not in (None, "", "127.0.0.1", "::1", "localhost", b"127.0.0.1"):
        open({log!r}, "a").write(repr(host) + chr(10))
        raise OSError("names are not looked up")
    return asked(host, *rest, **more)
socket.getaddrinfo = getaddrinfo
"""


@pytest.fixture
def offline(tmp_path):
    """An environment in which every Python process may talk to its own machine only, and the list of attempts."""
    log = tmp_path / "attempts"
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD.format(log=str(log)))
    paths = os.pathsep.join((str(tmp_path / "guard"), str(Path(__file__).parents[1])))
    return os.environ | {"PYTHONPATH": paths}, log


# Files that take long, the longest first, so that the workers of `make pytest` end together.
LONGEST = ("test_sweep.py", "test_pages.py", "test_fuzzing.py", "test_detector.py", "test_cli.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=2, help="how often a kill test kills (make torture: 20)")
    parser.addoption("--seed", type=int, default=None, help="of random moments and examples (default: a new one)")


settings.register_profile("quick", max_examples=50, deadline=None)
settings.register_profile("torture", max_examples=200, deadline=None)


def pytest_configure(config):
    if config.option.seed is None:
        config.option.seed = int.from_bytes(os.urandom(4), "little")
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(config.option.seed)
    settings.load_profile("quick" if config.getoption("-m") == "not torture" else "torture")


def pytest_report_header(config):
    return f"random moments and examples: --kills {config.option.kills} --seed {config.option.seed}"


@pytest.fixture
def kills(request) -> int:
    """How often a kill test kills its process."""
    return request.config.getoption("--kills")


@pytest.fixture
def rng(request) -> np.random.Generator:
    """Random numbers whose seed pytest's header shows: `--seed` repeats them."""
    return np.random.default_rng(request.config.getoption("--seed"))
