"""extract: each category whole or not at all, and nothing outside."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from padim_nb import load_category
from padim_nb.cli import main
from padim_nb.data.archive import extract
from padim_nb.errors import CannotWrite, DataError
from padim_nb.twin import location
from padim_nb.util.files import cache_root


def archive(path, members, mode="w:xz"):
    """A tar of (name, content) or ready TarInfo members."""
    with tarfile.open(path, mode) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size, info.mode = len(member[1]), 0o6777
            tar.addfile(info, io.BytesIO(member[1]))
    return path


def category_members(folder, name):
    return [(f"{name}/{p.relative_to(folder)}", p.read_bytes()) for p in sorted(folder.rglob("*.png"))]


def test_an_archive_is_placed_category_by_category(parts, tmp_path):
    members = category_members(parts / "widget", "widget") + category_members(parts / "widget", "gadget")
    path = archive(tmp_path / "a.tar.xz", [*members, ("license.txt", b"CC BY-NC-SA 4.0")])
    into = tmp_path / "data"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    said = extract(path, into, digest)
    assert digest in said
    assert load_category("gadget", into).has_masks
    assert (into / "license.txt").is_file()
    placed = into / "widget" / "train" / "good" / "000.png"
    assert placed.stat().st_mode & 0o7000 == 0
    assert "already there, left alone: gadget, widget" in extract(path, into)
    assert {p.name for p in into.iterdir()} == {"widget", "gadget", "license.txt"}


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    "evil",
    [
        ("../outside.txt", b"x"),
        ("/tmp/padim-outside.txt", b"x"),
        ("widget/../../x", b"x"),
        ("C:/Windows/evil.txt", b"x"),
        ("C:evil", b"x"),
        ("widget/train/good/x.png:stream", b"x"),
        ("widget/NUL", b"x"),
        ("widget/com1.png", b"x"),
        ("widget/con .txt/a.png", b"x"),
        ("widget/... /a.png", b"x"),
        ("widget/x.", b"x"),
        link("widget/train/good/l.png", tarfile.SYMTYPE),
        link("widget/h", tarfile.LNKTYPE),
        link("widget/dev", tarfile.CHRTYPE),
        link("widget/pipe", tarfile.FIFOTYPE),
    ],
)
def test_members_that_point_outside_end_it_before_anything_is_placed(parts, tmp_path, evil):
    path = archive(tmp_path / "a.tar.xz", [*category_members(parts / "widget", "widget"), evil])
    into = tmp_path / "deep" / "data"
    with pytest.raises(DataError, match="refused"):
        extract(path, into)
    assert not list(into.iterdir())
    assert not (tmp_path / "deep" / "outside.txt").exists()


@pytest.mark.parametrize("how", ["cut", "text", "none", "hash", "no category"])
def test_a_bad_archive_leaves_nothing(parts, tmp_path, how):
    path = archive(tmp_path / "a.tar.xz", category_members(parts / "widget", "widget"))
    expected, words = None, "not a whole tar archive"
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-400])
    elif how == "text":
        path.write_text("hello")
    elif how == "none":
        path, words = tmp_path / "none.tar", "no archive"
    elif how == "hash":
        expected, words = "0" * 64, "has the SHA-256"
    else:
        archive(path, [("readme.txt", b"x")])
        words = "holds no category"
    into = tmp_path / "data"
    with pytest.raises(DataError, match=words):
        extract(path, into, expected)
    assert not into.exists() or not [p for p in into.iterdir() if p.is_dir()]


def test_extracting_to_a_full_disk_is_one_line(parts, tmp_path, tiny_disk):
    path = archive(tmp_path / "a.tar.xz", [(f"w/train/good/{n}.png", bytes(40_000)) for n in range(5)])
    with pytest.raises(CannotWrite, match="disk is full"):
        extract(path, tiny_disk / "data")
    assert not [p for p in tiny_disk.rglob("*") if p.is_file()]


KILLED = """
import os, sys
from pathlib import Path
from padim_nb.data import archive
archive._place = lambda scratch, into: (print(scratch, flush=True), sys.stdin.read())
archive.extract(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_what_a_killed_extraction_left_goes_at_the_next_one_or_by_clean_and_a_running_ones_stays(
    parts, tmp_path, capsys
):
    path, into = archive(tmp_path / "a.tar", category_members(parts / "widget", "widget"), "w"), tmp_path / "data"
    for killed in (True, False):
        command = [sys.executable, "-c", KILLED, str(path), str(into)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        scratch = Path(process.stdout.readline().strip())
        os.utime(scratch, (1e9, 1e9))
        assert main(["data", "clean", "--into", str(into)]) == 0 and scratch.is_dir()
        process.kill()
        process.wait()
        assert scratch.is_dir()
        if killed:
            extract(path, into)
        else:
            capsys.readouterr()
            assert main(["data", "clean", "--into", str(into)]) == 0
            size = sum(len(content) for _, content in category_members(parts / "widget", "widget"))
            assert f"{size / 1000:.0f} kB  {scratch}: removed" in capsys.readouterr().out
        assert [entry.name for entry in into.iterdir()] == ["widget"]


def test_earlier_twins_and_banks_are_listed_and_removed_by_name(capsys):
    current = location("toothbrush")
    old = current.parents[1] / "0123abcd" / "toothbrush"
    bank = cache_root() / "procedural" / "0123-0-4x16.npy"
    for place in (current / "a.png", old / "a.png", bank):
        place.parent.mkdir(parents=True)
        place.write_bytes(b"x" * 2000)
    assert main(["data", "clean"]) == 0
    listed = capsys.readouterr().out
    assert "2 kB  twins: " in listed and "2 kB  banks: " in listed and "padim-nb data clean banks" in listed
    assert old.is_dir() and bank.is_file()
    assert main(["data", "clean", "twins", "banks"]) == 0
    assert f"2 kB  {old}: removed" in capsys.readouterr().out
    assert current.is_dir() and not old.parent.exists() and not bank.exists()
    assert main(["data", "clean"]) == 0 and main(["data", "clean", "twin"]) == 2
    printed = capsys.readouterr()
    assert "nothing to remove" in printed.out and "did you mean 'twins'" in printed.err
