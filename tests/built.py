"""The built book and a browser to open it with: what is there of both on this machine."""

import shutil
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
NEEDED = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the pages are not opened"),
    pytest.mark.skipif(not (HTML / "index.html").is_file(), reason="the book is not built: `make book`"),
]


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, *_):
        pass

    def handle(self):
        with suppress(OSError):  # a browser that leaves a page before all of it came
            super().handle()


def watched(context):
    """A new page, which keeps what went wrong and which addresses were asked for."""
    page = context.new_page()
    page.wrong, page.asked = [], []
    page.on("console", lambda message: page.wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    return page


def elsewhere(page, address):
    """What a watched page asked of any other machine."""
    return [url for url in page.asked if not url.startswith((address, "data:", "blob:"))]
