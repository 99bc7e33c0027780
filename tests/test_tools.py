"""check, extract, score, export and weights: what they report, refuse and leave behind."""

import hashlib
import io
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import onnxruntime
import pytest
from making import write_image, write_mask

from padim_nb import load_category
from padim_nb.data.archive import extract
from padim_nb.data.check import check, status
from padim_nb.data.images import Frame, image_batches
from padim_nb.deploy.export import export
from padim_nb.deploy.scoring import score_files
from padim_nb.errors import CannotWrite, DataError, ModelError, OptionError, WeightsError
from padim_nb.features import weights
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.settings import PaDiMSettings, Selection

SMALL = PaDiMSettings("gabor", Frame((64, 64)), Selection("random", 20, 0))


def test_a_whole_folder_is_whole(parts):
    report = check(parts)
    assert report.ok
    assert "everything is whole" in str(report)
    assert (report.categories[0].train, report.categories[0].good, report.categories[0].defective) == (12, 4, 5)


def test_every_kind_of_damage_is_reported_with_its_fix(parts):
    widget = parts / "widget"
    truth = widget / "ground_truth"
    (widget / "train" / "good" / "003.png").write_text("hello")
    (truth / "spot" / "000_mask.png").unlink()
    write_mask(truth / "spot" / "001_mask.png", (32, 32))
    write_mask(truth / "spot" / "002_mask.png", (64, 64), marked=False)
    write_mask(truth / "line" / "stray.png", (64, 64))
    (truth / "line" / "000_mask.png").write_text("hello")
    report = check(parts)
    text = str(report)
    for words in (
        "003.png: is not a readable image",
        "has no mask; put it at",
        "001_mask.png: is 32x32, its image 64x64",
        "marks nothing",
        "belongs to no image",
        "000_mask.png: is not a readable image",
    ):
        assert words in text, words
    assert len(report.problems) == 6
    assert "6 problems found" in text


def test_counts_of_mvtec_ads_categories_are_compared(parts):
    (parts / "widget").rename(parts / "bottle")
    text = str(check(parts))
    assert "12 images where MVTec AD has 209" in text
    assert "differ" in text


def test_check_needs_something_to_check(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="holds no category"):
        check(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="nothing of the lite twin is rendered yet"):
        check()
    assert "in use: the twin (lite)" in status()


def test_status_names_the_root_in_use_and_what_is_missing(parts, monkeypatch):
    monkeypatch.setenv("PADIM_NB_DATA", str(parts))
    text = status()
    assert f"in use: {parts}: widget" in text
    assert "missing of MVTec AD's fifteen: bottle, cable" in text


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


@pytest.fixture
def detector(parts):
    widget = load_category("widget", parts)
    fitted = PaDiM.from_settings(SMALL, "cpu").fit(widget.train)
    fitted.calibrate(widget.train, 0.2)
    return fitted


def test_new_images_get_a_line_each_and_pictures_on_request(parts, detector, tmp_path):
    model = detector.save(tmp_path / "m.safetensors")
    new = [parts / "widget" / "test" / "spot", write_image(tmp_path / "new.jpg", (64, 64))]
    lines = list(score_files(model, new, tmp_path / "out", "cpu"))
    assert len(lines) == 4
    assert all("defective" in line for line in lines[:3])
    assert lines[0].endswith("000.png")
    written = {p.name for p in (tmp_path / "out").iterdir()}
    assert written == {f"{n}_{kind}" for n in ("000", "001", "002", "new") for kind in ("map.npy", "overlay.png")}
    assert np.load(tmp_path / "out" / "000_map.npy").shape == (64, 64)
    both = [parts / "widget" / "test" / kind / "000.png" for kind in ("spot", "line")]
    list(score_files(model, both, tmp_path / "two", "cpu"))
    assert (tmp_path / "two" / "spot_000_map.npy").is_file()


def test_scoring_names_what_is_missing(detector, tmp_path):
    model = detector.save(tmp_path / "m.safetensors")
    with pytest.raises(DataError, match=r"none\.png does not exist"):
        list(score_files(model, [tmp_path / "none.png"]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images in"):
        list(score_files(model, [tmp_path / "empty"]))
    image = write_image(tmp_path / "x" / "a.png", (64, 64))
    with pytest.raises(OptionError, match="both be written as"):
        list(score_files(model, [image, image], tmp_path / "out"))


@pytest.mark.parametrize(("name", "form"), [("gabor", "multi-resolution"), ("gabor", "low-rank"), ("resnet18", "multi-resolution")])
def test_one_onnx_graph_says_what_torch_says(parts, tmp_path, name, form):
    widget = load_category("widget", parts)
    weights = "random" if name == "resnet18" else ""
    settings = PaDiMSettings(name, Frame((64, 96)), Selection("random", 20, 0), weights=weights, form=form)
    fitted = PaDiM.from_settings(settings, "cpu").fit(widget.train)
    path = export(fitted, tmp_path / "model.onnx")
    framed = np.concatenate(list(image_batches(widget.test, settings.frame)))
    found, scores = onnxruntime.InferenceSession(str(path)).run(None, {"images": framed})
    wanted = fitted.score(widget.test)
    assert found.shape == (9, 64, 96)
    assert np.abs(found - wanted.maps).max() / wanted.maps.max() < 1e-3
    assert np.allclose(scores, wanted.scores, rtol=1e-3)


def test_an_unfitted_or_differing_graph_is_not_kept(detector, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="has not been fitted"):
        export(PaDiM.from_settings(SMALL, "cpu"), tmp_path / "a.onnx")
    monkeypatch.setattr("padim_nb.deploy.export.TOLERANCE", -1.0)
    with pytest.raises(ModelError, match="was not kept"):
        export(detector, tmp_path / "a.onnx")
    assert not list(tmp_path.glob("*.onnx"))


BODY = b"weights" * 1000


class Server(BaseHTTPRequestHandler):
    """Gives the file, cuts it short, stalls, or has no such thing: by the path asked for."""

    def do_GET(self):
        if "gone" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        if "stall" in self.path:
            time.sleep(3)
            return
        self.wfile.write(BODY[:-100] if "cut" in self.path else BODY)

    def log_message(self, *_):
        """Keep quiet."""


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def source(server, kind, digest=None):
    return weights.Source(f"{server}/{kind}-{digest or hashlib.sha256(BODY).hexdigest()[:8]}.pth", 1.0)


def test_a_download_arrives_whole(server, tmp_path):
    path = weights.get("x", tmp_path, source(server, "fine"))
    assert path.read_bytes() == BODY
    assert weights.get("x", tmp_path, weights.Source(f"http://127.0.0.1:1/{path.name}", 1.0)) == path


@pytest.mark.parametrize(
    ("kind", "digest", "words"),
    [
        ("cut", None, "broke off|IncompleteRead"),
        ("lie", "0badc0de", "arrived damaged"),
        ("gone", None, "404"),
        ("stall", None, "timed out|could not"),
    ],
)
def test_a_bad_download_leaves_nothing(server, tmp_path, monkeypatch, kind, digest, words):
    monkeypatch.setattr(weights, "STALL", 0.5)
    with pytest.raises(WeightsError, match=words):
        weights.get("x", tmp_path, source(server, kind, digest))
    assert not list(tmp_path.iterdir())


def test_unknown_weights_and_the_list():
    with pytest.raises(OptionError, match="did you mean 'resnet18'"):
        weights.get("resnet81")
    assert "resnet18" in weights.table()
