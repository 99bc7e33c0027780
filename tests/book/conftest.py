"""The built book on a server of its own, and pages of one browser a module."""

import threading
from functools import partial
from http.server import ThreadingHTTPServer

import pytest
from built import CHROMIUM, HTML, Quiet, watched

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(HTML)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *CAMERA])
        yield opened
        opened.close()


@pytest.fixture
def page(browser, request):
    """A watched page, 1280 pixels wide and light unless (width, color scheme) are given."""
    width, scheme = getattr(request, "param", (1280, "light"))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    yield watched(context)
    context.close()
