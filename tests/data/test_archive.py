"""extract: each category whole or not at all, and nothing outside."""

import hashlib
import io
import tarfile

import pytest

from padim_nb import load_category
from padim_nb.data.archive import extract
from padim_nb.errors import CannotWrite, DataError


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
