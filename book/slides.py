"""Slides of chapters: figures, formulas and lists as slides, the prose as speaker notes (key S). All from own files.

python book/slides.py FOLDER [CHAPTER ...]      CHAPTER: such as padim_gaussians; all chapters unless given

reveal.js comes from its npm package, checked by its hash, so npm is needed once. Right goes to the next section, down
through its figures and code.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import html
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import nbformat
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
REVEAL = "reveal.js@5.2.1"
INTEGRITY = "r7//6mIM5p34hFiDMvYfXgyjXqGRta+/psd9YtytsgRlrpRzFv4RbH76TXd2qD+7ZPZEbpBDhdRhJaFgfQ7zNQ=="
FILES = {
    "dist/reset.css": "reset.css",
    "dist/reveal.css": "reveal.css",
    "dist/reveal.js": "reveal.js",
    "plugin/notes/notes.js": "notes.js",
}
MATH = "sphinx-mathjax-offline/static/mathjax/tex-svg.js"
LONGEST = 700  # characters of printed output on a slide
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<link rel="stylesheet" href="files/reset.css"><link rel="stylesheet" href="files/reveal.css">
<style>
.reveal {{ font: 26px/1.4 system-ui, sans-serif; color: #15181e; }}
body {{ background: #fff; }}
.reveal .slides {{ text-align: left; }}
.reveal h1, .reveal h2 {{ font-weight: 600; line-height: 1.15; margin: 0 0 0.7em; }}
.reveal h1 {{ font-size: 1.9em; }} .reveal h2 {{ font-size: 1.4em; }}
.reveal img {{ max-width: 100%; max-height: 560px; display: block; margin: auto; }}
.reveal pre, .reveal code {{ font-family: ui-monospace, monospace; }}
.reveal pre {{ font-size: 0.66em; background: #f3f4f6; padding: 0.7em; white-space: pre-wrap; }}
.reveal table {{ font-size: 0.68em; border-collapse: collapse; }}
.reveal td, .reveal th {{ border-bottom: 1px solid #c9ccd1; padding: 0.2em 0.7em; text-align: left; }}
</style></head>
<body><div class="reveal"><div class="slides">
{slides}
</div></div>
<script>window.MathJax = {{ tex: {{ inlineMath: [["$", "$"]], displayMath: [["$$", "$$"]] }} }};</script>
<script src="files/tex-svg.js"></script><script src="files/reveal.js"></script><script src="files/notes.js"></script>
<script>Reveal.initialize({{ hash: true, width: 1100, height: 720, plugins: [RevealNotes] }});</script>
</body></html>
"""
markdown = MarkdownIt("commonmark", {"html": False}).enable("table")


def main(arguments: list[str] | None = None) -> int:
    """Write one page of slides a chapter, and the files they share."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER")
    given = parser.parse_args(arguments)
    names = [Path(name).stem for name in (ROOT / "notebooks" / "tested.txt").read_text(encoding="utf-8").split()]
    for name in given.chapters:
        if name not in names:
            parser.error(f"no chapter {name!r}: one of {', '.join(names)}")
    if not shared_files(given.folder / "files"):
        return 1
    for name in given.chapters or names:
        path = given.folder / f"{name}.html"
        path.write_text(slides_of(ROOT / "notebooks" / f"{name}.ipynb"), encoding="utf-8")
        print(path)
    return 0


def shared_files(folder: Path) -> bool:
    """reveal.js and the math renderer; False, with a line that says why, where npm gave nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(str(distribution("sphinx-mathjax-offline").locate_file(MATH)), folder / "tex-svg.js")
    if all((folder / name).is_file() for name in FILES.values()):
        return True
    npm = shutil.which("npm")
    if npm is None:
        print("slides need npm once, for reveal.js: install it", file=sys.stderr)
        return False
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([npm, "pack", "--silent", REVEAL], cwd=scratch, capture_output=True, check=False, timeout=300)
        packed = next(Path(scratch).glob("*.tgz"), None)
        if packed is None:
            print(f"npm did not give {REVEAL}: is there a network?", file=sys.stderr)
            return False
        content = packed.read_bytes()
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != INTEGRITY:
        print(f"{REVEAL} is not the file that was expected: its hash differs", file=sys.stderr)
        return False
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member, name in FILES.items():
            source = archive.extractfile(f"package/{member}")
            assert source is not None
            (folder / name).write_bytes(source.read())
    return True


def slides_of(path: Path) -> str:
    """The page of a chapter."""
    notebook = nbformat.read(path, 4)
    title, sections = path.stem, list[list[str]]()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            (sections or [[]])[-1].extend(_of_code(cell))
            continue
        for heading, text in _parts(cell.source):
            if heading.strip("# ") in ("Exercises", "Projects"):
                return _page(title, sections)
            if heading:
                title = heading.lstrip("# ") if heading.startswith("# ") else title
                level = "h1" if heading.startswith("# ") else "h2"
                sections.append([_of_text(f"<{level}>{html.escape(heading.lstrip('# '))}</{level}>", text)])
            elif sections:
                slide = _of_text("", text)
                if slide.startswith("<aside"):  # on the figure or code before it
                    slide = f"{sections[-1].pop().removesuffix('</section>')}{slide}</section>"
                sections[-1].append(slide)
    return _page(title, sections)


def _page(title: str, sections: list[list[str]]) -> str:
    stacks = ["<section>\n{}\n</section>".format("\n".join(filter(None, stack))) for stack in sections]
    return PAGE.format(title=html.escape(title), slides="\n".join(stacks))


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """(heading, text below it) of a cell; the first heading is "" where the cell begins without one."""
    pieces = re.split(r"^(#{1,3} .+)$", text, flags=re.MULTILINE)
    if pieces[0].strip():
        yield "", pieces[0]
    yield from zip(pieces[1::2], pieces[2::2], strict=True)


def _of_text(heading: str, text: str) -> str:
    """A slide: what stands in lists, tables and formulas; the paragraphs are notes. "" where there is neither."""
    text = re.sub(r"^(:{3,}|`{3,})\{(?!admonition|dropdown).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^:{3,}(?:\{(?:admonition|dropdown)\}.*)?$|^:class:.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\{doc\}`([^`<]+?)\s*<[^`]*`", r"*\1*", text)
    text = re.sub(r"\{doc\}`[^`]*?(\w+)`", lambda match: f"*{match[1].replace('_', ' ')}*", text)
    text = re.sub(r"\{cite:[pt]\}`([^`]*)`", r"(\1)", text)
    blocks = [block for block in re.split(r"\n\s*\n", text) if block.strip()]
    shown = [block for block in blocks if re.match(r"\s*([-*|]|\d+\.|\$\$)", block)]
    spoken = [block for block in blocks if block not in shown]
    body = "\n".join(f"<div>{html.escape(b)}</div>" if b.lstrip().startswith("$$") else _rendered(b) for b in shown)
    if heading and not body and spoken:
        body = _rendered(re.split(r"(?<=[.?!])\s", spoken[0].strip(), maxsplit=1)[0])  # its first sentence
    if not heading and not body:
        return f'<aside class="notes">{_rendered(text)}</aside>' if spoken else ""
    notes = f'<aside class="notes">{_rendered(chr(10).join(spoken))}</aside>' if spoken else ""
    return f"<section>{heading}{body}{notes}</section>"


def _rendered(text: str) -> str:
    """Markdown to HTML; formulas between dollars stay as they are."""
    formulas: list[str] = []

    def hide(match: re.Match[str]) -> str:
        formulas.append(html.escape(match[0]))
        return f"\x02{len(formulas) - 1}\x02"

    rendered = str(markdown.render(re.sub(r"\$[^$\n]+\$", hide, text)))
    return re.sub("\x02(\\d+)\x02", lambda match: formulas[int(match[1])], rendered)


def _of_code(cell: Any) -> Iterator[str]:
    """A slide for each figure or table of a cell, and one with its code and what it printed."""
    printed = ""
    for output in cell.outputs:
        data = output.get("data", {})
        for kind in ("image/png", "image/jpeg"):
            if kind in data:
                alt = html.escape(output.get("metadata", {}).get(kind, {}).get("alt", "figure"), quote=True)
                yield f'<section><img alt="{alt}" src="data:{kind};base64,{data[kind].strip()}"></section>'
        if "text/html" in data:
            yield f"<section>{data['text/html']}</section>"
        printed += output.get("text", "")
    shown = f"<pre>{html.escape(printed[:LONGEST])}</pre>" if printed else ""
    yield f"<section><pre><code>{html.escape(cell.source)}</code></pre>{shown}</section>"


if __name__ == "__main__":
    sys.exit(main())
