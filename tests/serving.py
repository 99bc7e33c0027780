"""A web server on this machine for tests of downloads: it resumes, or not, cuts, stalls and counts its requests."""

import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Gives `server.files` by their names; an address's folder says how: /cut/ ends after half of what is asked."""

    def do_GET(self):
        how, name = self.path.strip("/").split("/")
        self.server.requests.append((self.path, self.headers.get("Range")))
        body = self.server.files.get(name)
        if body is None:
            self.send_error(404)
            return
        begin, asked = 0, self.headers.get("Range")
        if asked and how not in ("whole", "stuck"):
            begin = int(asked.removeprefix("bytes=").rstrip("-"))
            if begin >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        part = body[begin:]
        if how != "nameless":
            self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if how == "stall":
            time.sleep(3)
        elif how == "trickle":  # slowly enough to be interrupted anywhere
            for start in range(0, len(part), 4096):
                self.wfile.write(part[start : start + 4096])
                time.sleep(0.02)
        elif how == "stuck" or (how == "cut" and len(part) > 100) or (how == "once" and begin == 0):
            self.wfile.write(part[: len(part) // 2])
        else:
            self.wfile.write(part)

    def log_message(self, *_):
        """Keep quiet."""

    def handle(self):
        with suppress(OSError):  # the other side was killed
            super().handle()


@contextmanager
def serving(files):
    """A server of these files, {name: bytes}; its `address(how, name)` is to be asked for one."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.requests = files, []
        server.address = lambda how, name: f"http://127.0.0.1:{server.server_port}/{how}/{name}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
