"""weights get: whole or not at all, and one line where it fails."""

import hashlib
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from padim_nb.errors import CannotWrite, OptionError, WeightsError
from padim_nb.features import weights

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


def test_a_download_arrives_whole_and_removes_what_a_killed_one_left(server, tmp_path):
    partials = [tmp_path / f"{source(server, 'fine').file}.{name}.partial" for name in ("old", "new")]
    for partial, days in zip(partials, (2, 0), strict=True):
        partial.touch()
        os.utime(partial, (time.time() - days * 86_400,) * 2)
    path = weights.get("x", tmp_path, source(server, "fine"))
    assert set(tmp_path.iterdir()) == {path, partials[1]}
    assert path.read_bytes() == BODY
    assert weights.get("x", tmp_path, weights.Source(f"http://127.0.0.1:1/{path.name}", 1.0)) == path


@pytest.mark.parametrize(
    ("kind", "digest", "words"),
    [
        ("cut", None, "arrived cut short"),
        ("lie", "0badc0de", "cut short or damaged"),
        ("gone", None, "404"),
        ("stall", None, "timed out|could not"),
    ],
)
def test_a_bad_download_leaves_nothing(server, tmp_path, monkeypatch, kind, digest, words):
    monkeypatch.setattr(weights, "STALL", 0.5)
    before = socket.getdefaulttimeout()
    with pytest.raises(WeightsError, match=words) as error:
        weights.get("x", tmp_path, source(server, kind, digest))
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())
    assert socket.getdefaulttimeout() == before


def test_a_folder_that_cannot_be_written_is_one_line(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match="a file is in the way"):
        weights.get("x", tmp_path / "file", source(server, "fine"))


def test_unknown_weights_and_the_list():
    with pytest.raises(OptionError, match="did you mean 'resnet18'"):
        weights.get("resnet81")
    assert "resnet18" in weights.table()
