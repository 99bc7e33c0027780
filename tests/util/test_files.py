"""Files appear whole or not at all, and what a killed writer leaves does not pile up."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from padim_nb.util.files import ABANDONED, cache_root, whole_file, whole_folder

WRITTEN = """
import os, signal, sys
from padim_nb.util.files import whole_file
with whole_file(sys.argv[1]) as scratch:
    scratch.write_bytes(b"whole")
"""
KILLED = WRITTEN + "    os.kill(os.getpid(), signal.SIGKILL)"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), whole_file(target) as scratch:
        scratch.write_text("new")
        _ = 1 / 0
    assert (names(tmp_path), target.read_text()) == (["a.txt"], "old")


def test_what_killed_writers_left_is_removed_after_a_day(tmp_path):
    target, other = tmp_path / "model.bin", tmp_path / ".model-mine.bin"
    other.write_text("a hidden file of the user's own")
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    left = [tmp_path / name for name in names(tmp_path) if "part" in name]
    assert len(left) == 2 and not list(tmp_path.rglob("model.bin"))  # a search for whole files does not find them
    for path, present in ((left[0], left[1:]), (left[1], [])):
        os.utime(path, (time.time() - 2 * ABANDONED,) * 2)
        subprocess.run([sys.executable, "-c", WRITTEN, str(target)], check=True)
        assert [tmp_path / name for name in names(tmp_path) if "part" in name] == present
    assert names(tmp_path) == [".model-mine.bin", "model.bin"]
    assert target.read_text() == "whole"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no umask")
@pytest.mark.parametrize("umask", [0o007, 0o022, 0o077])
def test_files_and_folders_have_the_users_permissions(tmp_path, umask):
    code = f"""
import os, pathlib
os.umask({umask})
from padim_nb.util.files import whole_file, whole_folder
with whole_file("file.txt") as scratch:
    scratch.unlink()
    os.close(os.open(scratch, os.O_CREAT, 0o600))
with whole_folder("folder") as scratch:
    (scratch / "x").touch()
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("file.txt", "folder", "folder/x")]
    assert modes == [0o666 & ~umask, 0o777 & ~umask, 0o666 & ~umask]


@pytest.mark.skipif(sys.platform == "win32", reason="the flags of an open file are not told there")
def test_files_are_synced_on_a_handle_that_can_be_written(tmp_path, monkeypatch):
    import fcntl

    modes = []
    monkeypatch.setattr(os, "fsync", lambda handle: modes.append(fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE))
    with whole_file(tmp_path / "a.txt") as scratch:
        scratch.write_text("a")
    assert modes == [os.O_RDWR]


@pytest.mark.parametrize("keep", [False, True])
def test_a_folder_that_exists_is_replaced_or_kept(tmp_path, keep):
    for content in ("first", "second"):
        with whole_folder(tmp_path / "folder", keep_existing=keep) as scratch:
            (scratch / content).touch()
    assert (names(tmp_path), names(tmp_path / "folder")) == (["folder"], ["first" if keep else "second"])


def test_the_cache_is_the_users_unless_a_folder_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("PADIM_NB_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("PADIM_NB_CACHE")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert cache_root() == tmp_path / "xdg" / "padim_nb"
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert cache_root() == Path.home() / ".cache" / "padim_nb"


def test_what_another_writer_is_writing_is_left_alone(tmp_path):
    target = tmp_path / "a.txt"
    with whole_file(target) as first:
        first.write_text("first")
        with whole_file(target) as second:
            second.write_text("second")
        assert target.read_text() == "second"
    assert (names(tmp_path), target.read_text()) == (["a.txt"], "first")
