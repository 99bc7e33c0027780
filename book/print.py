"""Prints the book: all chapters on one page, then a PDF by a Chromium of yours. Writes _build/pdf/book.pdf.

python book/print.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from build import ROOT, configured, vendor_math

SINGLE = ROOT / "_build" / "pdf" / "html"
PDF = ROOT / "_build" / "pdf" / "book.pdf"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PRINTED = """() => {
  document.documentElement.dataset.theme = "light";
  for (const box of document.querySelectorAll("details")) box.open = true;
  for (const image of document.querySelectorAll("img")) image.loading = "eager";
}"""

BROKEN = "[...document.images].filter((image) => !image.naturalWidth).map((image) => image.src)"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def main() -> int:
    """Build one page of everything and print it."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        print("printing needs a Chromium: install one, or print the pages from your browser", file=sys.stderr)
        return 1
    vendor_math()
    (ROOT / "_build" / "vendor" / "live").mkdir(parents=True, exist_ok=True)
    tool = Path(sys.executable).parent / "jupyter-book"
    command = [tool, "build", ROOT, "--builder", "custom", "--custom-builder", "singlehtml"]
    command += ["--path-output", SINGLE, "-q", "--config", configured("off")]
    if code := subprocess.run(list(map(str, command)), cwd=ROOT, check=False).returncode:
        return code
    written = next(SINGLE.rglob("intro.html"))
    page = written.parents[1] / "printed.html"  # where its images are: the builder writes their addresses from there
    page.write_text(written.read_text())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SINGLE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _print(browser, f"http://127.0.0.1:{server.server_port}/{page.relative_to(SINGLE).as_posix()}")
    server.shutdown()
    print(f"{PDF.relative_to(ROOT)}: {PDF.stat().st_size / 1e6:.1f} MB")
    return 0


def _print(browser: str, address: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = opened.new_page()
        page.goto(address, wait_until="load", timeout=120_000)
        page.evaluate(PRINTED)
        page.wait_for_function("[...document.images].every((image) => image.complete)", timeout=120_000)
        if broken := page.evaluate(BROKEN):
            raise SystemExit(f"{len(broken)} images are missing, such as {broken[0]}")
        page.wait_for_timeout(3000)  # for the formulas
        page.pdf(path=str(PDF), format="A4", margin={"top": "16mm", "bottom": "16mm", "left": "14mm", "right": "14mm"})
        opened.close()


if __name__ == "__main__":
    sys.exit(main())
