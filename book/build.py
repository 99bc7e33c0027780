"""Builds the book: what runs in the browser, then Jupyter Book with warnings as errors and no outside address.

python book/build.py [--execute]

BOOK_REPOSITORY, the address of a published copy's repository, adds the buttons that lead there (Binder, Colab,
repository, issues); BOOK_BRANCH is its branch (main), BOOK_URL the address of the built pages.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
VENDOR = ROOT / "_build" / "vendor"
HTML = ROOT / "_build" / "html"
LOADS = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["'](https?:)?//[^"']+|<link\b[^>]*\bhref=["'](https?:)?//[^"']+"""
)
HARMLESS_LINK = re.compile(r"""rel=["'](?:canonical|license|author|me)["']""")


def main() -> int:
    """Build, then check that no page loads anything from elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--execute", action="store_true", help="run every notebook instead of showing stored outputs")
    arguments = parser.parse_args()
    for old in (HTML, HTML.parent / ".doctrees", HTML.parent / "jupyter_execute"):
        shutil.rmtree(old, ignore_errors=True)
    vendor_math()
    for script in ("live.py", "learn.py"):
        if code := subprocess.run([sys.executable, str(ROOT / "book" / script)], cwd=ROOT, check=False).returncode:
            return code
    config = configured("force" if arguments.execute else "off")
    tool = Path(sys.executable).parent / "jupyter-book"
    command = [str(tool), "build", str(ROOT), "--all", "-q", "-W", "--keep-going", "--config", str(config)]
    if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
        return code
    loads = outside_loads(HTML)
    for line in loads:
        print(f"loads from elsewhere: {line}", file=sys.stderr)
    return 1 if loads else 0


def vendor_math() -> None:
    """Copy the math renderer from its Python package to the book's static files: no page asks a CDN for it."""
    target = VENDOR / "mathjax" / "tex-svg.js"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        source = distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline/static/mathjax/tex-svg.js")
        shutil.copyfile(source, target)


def configured(execute: str) -> Path:
    """The path of a copy of _config.yml with `configuration` in it."""
    path = ROOT / "_build" / "config.yml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(configuration(execute)))
    return path


def configuration(execute: str) -> dict[str, Any]:
    """_config.yml with the way of execution and, where they are given, the addresses of repository and pages.

    Args:
        execute: "off" (stored outputs) or "force".
    """
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["execute"]["execute_notebooks"] = execute
    config["sphinx"]["local_extensions"] = {
        name: str(ROOT / "book" / "_ext") for name in ("without_thebe", "touch", "quizzes")
    }
    if repository := os.environ.get("BOOK_REPOSITORY"):
        config["repository"] = {"url": repository, "branch": os.environ.get("BOOK_BRANCH", "main")}
        config["launch_buttons"] = {
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
            "notebook_interface": "jupyterlab",
        }
        config["html"] |= {"use_repository_button": True, "use_issues_button": True}
    if address := os.environ.get("BOOK_URL"):
        config["html"]["baseurl"] = address.rstrip("/") + "/"
        config["sphinx"]["config"]["ogp_site_url"] = address.rstrip("/") + "/"
    return config


def outside_loads(folder: Path) -> list[str]:
    """'page: tag' for whatever a page would load from another address."""
    return [
        f"{page.relative_to(folder)}: {tag[0][:120]}"
        for page in sorted(folder.rglob("*.html"))
        for tag in LOADS.finditer(page.read_text(encoding="utf-8"))
        if not HARMLESS_LINK.search(tag[0])
    ]


if __name__ == "__main__":
    sys.exit(main())
