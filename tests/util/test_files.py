"""Files appear whole or not at all, and what a killed writer leaves does not pile up."""

import subprocess
import sys

import pytest

from padim_nb.util.files import whole_file

KILLED = """
import os, signal, sys
from pathlib import Path
from padim_nb.util.files import whole_file
with whole_file(Path(sys.argv[1])) as scratch:
    scratch.write_bytes(b"half of it")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), whole_file(target) as scratch:
        scratch.write_text("new")
        _ = 1 / 0
    assert (names(tmp_path), target.read_text()) == (["a.txt"], "old")


@pytest.mark.skipif(sys.platform == "win32", reason="the system does not tell whose file it is")
def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    target, other = tmp_path / "model.bin", tmp_path / ".model-mine.bin"
    other.write_text("a hidden file of the user's own")
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False).returncode == -9
        assert len(names(tmp_path)) == 2  # one of a killed writer, never two
    with whole_file(target) as scratch:
        scratch.write_text("whole")
    assert names(tmp_path) == [".model-mine.bin", "model.bin"]
    assert target.read_text() == "whole"


def test_what_another_writer_is_writing_is_left_alone(tmp_path):
    target = tmp_path / "a.txt"
    with whole_file(target) as first:
        first.write_text("first")
        with whole_file(target) as second:
            second.write_text("second")
        assert target.read_text() == "second"
    assert (names(tmp_path), target.read_text()) == (["a.txt"], "first")
