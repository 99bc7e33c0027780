"""weights get: resumed after a cut, checked, whole or not at all, and one line where it fails."""

import hashlib
import os
import stat
import tarfile
import zipfile

import pytest
from filelock import FileLock
from packing import tarred, zipped
from serving import serving

from padim_nb.errors import CannotWrite, DataError, OptionError, WeightsError
from padim_nb.features import weights
from padim_nb.util import download
from padim_nb.util.files import cache_root

BODY = os.urandom(200_000)
SHA = hashlib.sha256(BODY).hexdigest()
FILE = f"net-{SHA[:8]}.pth"


@pytest.fixture(scope="module")
def server():
    with serving({FILE: BODY, "other.pth": BODY, f"lie-{SHA[:7]}x.pth": BODY}) as running:
        yield running


def source(server, how="plain", file=FILE, **more):
    return weights.Source(server.address(how, file), 0.2, **more)


def visible(folder):
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("how", ["plain", "whole", "nameless", "cut", "once"])
def test_a_download_arrives_whole_also_when_it_is_cut_on_the_way(server, tmp_path, how):
    server.requests.clear()
    path = weights.get("x", tmp_path, source(server, how, sha256=SHA, size=len(BODY)))
    assert visible(tmp_path) == {FILE} and path.read_bytes() == BODY
    ranges = [begin for _, begin in server.requests]
    assert ranges[0] is None
    assert ranges[1:2] == (["bytes=100000-"] if how in ("cut", "once") else [])
    count = len(ranges)
    assert weights.get("x", tmp_path, source(server, how)) == path
    assert len(server.requests) == count, "it is there: nothing is asked for"


@pytest.mark.parametrize(("how", "begin"), [("plain", 150_000), ("whole", 0)])
def test_what_a_killed_one_left_is_taken_up_where_the_server_can(server, tmp_path, how, begin):
    (tmp_path / f"{FILE}.partial").write_bytes(BODY[:150_000])
    server.requests.clear()
    assert weights.get("x", tmp_path, source(server, how)).read_bytes() == BODY
    assert server.requests[0][1] == "bytes=150000-", "asked for, also of a server that starts from the beginning"
    assert len(server.requests) == 1 and visible(tmp_path) == {FILE}


def test_a_whole_partial_file_of_unknown_or_known_size_becomes_the_file(server, tmp_path):
    for size in (0, len(BODY)):
        (tmp_path / f"{FILE}.partial").write_bytes(BODY)
        path = weights.get("x", tmp_path, source(server, size=size))
        assert path.read_bytes() == BODY
        path.unlink()


def test_a_server_that_always_stops_at_the_same_byte_ends_it_and_what_came_stays(server, tmp_path):
    with pytest.raises(WeightsError, match=r"cut\).*goes on from 0\.1 MB.*--from FILE") as error:
        weights.get("x", tmp_path, source(server, "stuck"))
    assert "\n" not in str(error.value)
    assert visible(tmp_path) == {f"{FILE}.partial"}
    assert weights.get("x", tmp_path, source(server)).read_bytes() == BODY


@pytest.mark.parametrize(
    ("how", "more", "words"),
    [
        ("plain", {"file": f"lie-{SHA[:7]}x.pth"}, "SHA-256 begins with"),
        ("plain", {"sha256": "0badc0de" * 8}, "SHA-256 begins with"),
        ("plain", {"size": len(BODY) - 1}, r"server has 200,000 bytes, published were 199,999"),
        ("nameless", {"size": len(BODY) - 1}, r"200,000 bytes, not 199,999"),
        ("nameless", {"size": len(BODY) + 1}, "cut"),
        ("plain", {"file": "gone.pth"}, "404"),
        ("stall", {}, "timed out"),
    ],
    ids=["hash in name", "hash", "size", "size of what came", "too little", "gone", "stall"],
)
def test_a_bad_download_leaves_no_file_and_one_line(server, tmp_path, monkeypatch, how, more, words):
    monkeypatch.setattr(download, "STALL", 0.5)
    with pytest.raises(WeightsError, match=words) as error:
        weights.get("x", tmp_path, source(server, how, **more))
    assert "\n" not in str(error.value)
    partial = {f"{FILE}.partial"} if words == "cut" else set()
    assert visible(tmp_path) == partial, "what has the wrong hash is not taken up again"


def test_a_full_disk_is_refused_before_and_while_it_fills(server, tiny_disk):
    server.requests.clear()
    with pytest.raises(CannotWrite, match=r"0\.2 MB are needed.*free some space"):
        weights.get("x", tiny_disk, source(server))
    assert not (tiny_disk / f"{FILE}.partial").exists()
    with pytest.raises(CannotWrite, match="disk is full"):  # its size is not known before
        weights.get("x", tiny_disk, source(server, "nameless"))
    assert not (tiny_disk / FILE).exists()


def test_a_folder_that_cannot_be_written_is_one_line(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match="a file is in the way"):
        weights.get("x", tmp_path / "file", source(server))


def test_two_at_once_are_refused(server, tmp_path):
    with FileLock(tmp_path / f".{FILE}.lock"), pytest.raises(WeightsError, match="another process is downloading"):
        weights.get("x", tmp_path, source(server))


def link(name, kind=stat.S_IFLNK):
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o777) << 16
    return info


def special(name, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def archived(server, body, file="pack.zip", **more):
    server.files[file] = body
    return source(server, file=file, sha256=hashlib.sha256(body).hexdigest(), size=len(body), **more)


WANTED = (("small.pth", hashlib.sha256(b"small").hexdigest()), ("medium.pth", hashlib.sha256(b"medium").hexdigest()))


def test_of_an_archive_only_the_wanted_members_come_and_each_is_checked(server, tmp_path):
    members = [("inner/small.pth", b"small"), ("inner/medium.pth", b"medium"), ("inner/run.sh", b"#!")]
    pack = archived(server, zipped(members), members=WANTED)
    folder = weights.get("x", tmp_path, pack)
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {"small.pth", "medium.pth"}
    assert visible(tmp_path) == {folder.name}, "the archive is not kept"
    assert folder.name == f"pack-{pack.sha256[:8]}"
    count = len(server.requests)
    weights.get("x", tmp_path, pack)
    assert len(server.requests) == count
    next(folder.rglob("small.pth")).write_bytes(b"changed")
    weights.get("x", tmp_path, pack)
    assert next(folder.rglob("small.pth")).read_bytes() == b"small", "a damaged one is got again"


def test_of_an_archive_of_images_the_images_come(server, tmp_path):
    members = [("set/train/n01/a.JPEG", b"a"), ("set/val/n02/b.JPEG", b"b"), ("set/noise.csv", b"c")]
    folder = weights.get("x", tmp_path, archived(server, tarred(members), "set.tgz", images=True))
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {"set/train/n01/a.JPEG", "set/val/n02/b.JPEG"}


GOOD = [("small.pth", b"small"), ("medium.pth", b"medium")]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([*GOOD, ("../outside.pth", b"x")], "points outside: refused"),
        ([*GOOD, ("/tmp/padim-outside.pth", b"x")], "points outside: refused"),
        ([*GOOD, (link("more.pth"), "/etc/passwd")], "a link or device: refused"),
        ([*GOOD, (link("device", stat.S_IFCHR), "")], "a link or device: refused"),
        ([("small.pth", b"small")], "does not hold what it should"),
        ([("small.pth", b"small"), ("medium.pth", b"other")], "does not hold what it should"),
        ([("image.txt", b"x")], "does not hold what it should"),
    ],
    ids=["outside", "absolute", "link", "device", "missing", "other content", "nothing wanted"],
)
def test_an_archive_with_a_bad_member_places_nothing(server, tmp_path, members, words):
    pack = archived(server, zipped(members), members=WANTED)
    with pytest.raises(DataError, match=words):
        weights.get("x", tmp_path / "in", pack)
    assert visible(tmp_path / "in") <= {"pack.zip"}
    assert not (tmp_path / "outside.pth").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_an_archive_of_images_with_a_link_places_nothing(server, tmp_path, kind):
    body = tarred([("a/b.JPEG", b"x"), (special("a/c.JPEG", kind), b"")])
    with pytest.raises(DataError, match="a link or device: refused"):
        weights.get("x", tmp_path, archived(server, body, "set.tgz", images=True))
    assert visible(tmp_path) <= {"set.tgz"}


def test_an_archive_needs_space_for_its_contents_too(server, tmp_path, monkeypatch):
    body = zipped(GOOD)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("", (), {"free": 1.5 * len(body)}))
    with pytest.raises(CannotWrite, match="are needed"):
        weights.get("x", tmp_path, archived(server, body, members=WANTED))


def test_a_file_that_was_carried_here_is_checked_the_same_way_and_asks_no_network(server, tmp_path):
    server.requests.clear()
    carried = tmp_path / "carried"
    carried.mkdir()
    (carried / FILE).write_bytes(BODY)
    path = weights.get("x", tmp_path / "a", source(server), carried / FILE)
    assert path.read_bytes() == BODY and (carried / FILE).exists()
    assert weights.get("x", tmp_path / "b", source(server), carried).read_bytes() == BODY, "found in a folder"
    pack = archived(server, zipped(GOOD), members=WANTED)
    (carried / "renamed").write_bytes(server.files["pack.zip"])
    assert next(weights.get("x", tmp_path / "c", pack, carried / "renamed").rglob("small.pth")).is_file()
    (carried / FILE).write_bytes(BODY[:-1])
    with pytest.raises(WeightsError, match=r"is not net-.*SHA-256 begins with"):
        weights.get("x", tmp_path / "d", source(server), carried / FILE)
    with pytest.raises(WeightsError, match=r"is not net-.*199,999 bytes, not 200,000"):
        weights.get("x", tmp_path / "d", source(server, size=len(BODY)), carried / FILE)
    with pytest.raises(WeightsError, match="no file"):
        weights.get("x", tmp_path / "d", source(server), carried / "absent")
    assert not visible(tmp_path / "d") and not server.requests


def test_a_carried_file_on_a_full_disk(server, tiny_disk, tmp_path):
    (tmp_path / FILE).write_bytes(BODY)
    with pytest.raises(CannotWrite, match="are needed"):
        weights.get("x", tiny_disk, source(server), tmp_path / FILE)
    assert not visible(tiny_disk)


def test_unknown_weights_and_the_list():
    with pytest.raises(OptionError, match="did you mean 'resnet18'"):
        weights.get("resnet81")
    table = weights.table()
    for name in ("resnet18", "anomalib", "nelson1425-small", "nelson1425-medium", "imagenette"):
        assert name in table


def test_the_published_files_are_pinned_by_whole_hashes_and_their_terms_are_named():
    for name, published in weights.PUBLISHED.items():
        digests = [published.sha256, *dict(published.members).values()]
        assert all(len(digest) == 64 and int(digest, 16) for digest in digests), name
        assert published.address.startswith("https://") and "research" in published.terms
    with pytest.raises(WeightsError, match=r"imagenette2\.tgz, 1557 MB.*weights get imagenette`.*--from FILE"):
        weights.published_path("imagenette")
    assert not (cache_root() / "weights").exists()
