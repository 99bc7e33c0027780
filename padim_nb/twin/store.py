"""Twin categories on disk, in MVTec AD's folder layout: rendered once by several processes, then reused."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import tokenize
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from tqdm import tqdm

from ..errors import CannotWrite, CategoryNotFound, PadimError, did_you_mean
from ..util.files import cache_root, whole_folder
from ..util.machine import cores
from ..util.mvtec_counts import CATEGORIES, Plan, plan
from ..util.twin_marker import MARKER, write_marker
from .scene import Part


def part(category: str) -> Part:
    """The rules of one category."""
    if category not in CATEGORIES:
        raise CategoryNotFound(f"the twin has no category {category!r}{did_you_mean(category, CATEGORIES)}")
    return import_module(f"padim_nb.twin.parts.{category}").PART


@lru_cache(maxsize=32)
def version(category: str) -> str:
    """Eight hex digits that change whenever what is rendered of a category may: by its own module, the modules all
    categories share, or the counts table.
    """
    digest = hashlib.sha256()
    here = Path(__file__).parent
    shared = {*here.glob("*.py")} - {Path(__file__), here / "__init__.py", here / "worker.py"}
    for source in (*sorted(shared), here / "parts" / f"{category}.py"):
        digest.update(source.relative_to(here).as_posix().encode() + _code(source))
    digest.update((here.parent / "assets" / "mvtec_ad_counts.csv").read_bytes())
    return digest.hexdigest()[:8]


def _code(source: Path) -> bytes:
    """The lines of a module without comments and docstrings: what decides what it computes."""
    text = source.read_text(encoding="utf-8")
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] = lines[token.start[0] - 1][: token.start[1]]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            first = node.body[0]
            for number in range(first.lineno - 1, first.end_lineno or first.lineno):
                lines[number] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip()).encode()


def location(category: str, kind: str = "lite", size: int = 256, seed: int = 0) -> Path:
    """The folder that holds (or will hold) one of the twin's categories of this kind."""
    return twin_root(kind, size, seed) / version(category) / category


def twin_root(kind: str = "lite", size: int = 256, seed: int = 0) -> Path:
    """The folder below which all of the twin's categories of this kind lie."""
    return cache_root() / "twin" / f"{kind}-{size}-{seed}"


def rendered(kind: str = "lite", size: int = 256, seed: int = 0) -> tuple[str, ...]:
    """The categories that are already on disk."""
    present = {folder.name for folder in twin_root(kind, size, seed).glob("*/*")}  # of any version
    return tuple(name for name in CATEGORIES if name in present and location(name, kind, size, seed).is_dir())


def ensure(category: str, kind: str = "lite", size: int = 256, seed: int = 0, workers: int | None = None) -> Path:
    """The folder of one category, rendered first where it is missing; the same bytes whatever `workers` is."""
    part(category)  # an unknown name is refused before anything is made
    folder = location(category, kind, size, seed)
    if folder.is_dir():
        if not (folder / MARKER).is_file():  # an earlier version rendered it
            with suppress(OSError):  # a cache that can only be read is known by its place
                write_marker(folder, seed)
        return folder
    _sweep(folder)
    with whole_folder(folder, keep_existing=True) as scratch:
        _render_all(scratch, category, kind, size, seed, workers or cores())
        write_marker(scratch, seed)
    return folder


def jobs(category: str, counts: Plan) -> list[tuple[str, str, int]]:
    """Every image of a category as (split, defect, index), in a fixed order."""
    return [
        *(("train", "good", i) for i in range(counts.train)),
        *(("test", "good", i) for i in range(counts.good)),
        *(("test", defect, i) for defect, count in counts.defects.items() for i in range(count)),
    ]


def _sweep(folder: Path) -> None:
    """Remove what renderings of this category left behind that were killed over an hour ago."""
    for old in folder.parent.glob(f".{folder.name}-*"):
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > 3600:
                shutil.rmtree(old)


def _render_all(folder: Path, category: str, kind: str, size: int, seed: int, workers: int) -> None:
    total = len(jobs(category, plan(category, kind)))
    workers = max(1, min(workers, total))
    command = [sys.executable, "-m", "padim_nb.twin.worker", str(folder), category, kind, str(size), str(seed)]
    package = str(Path(__file__).parents[2])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")])),
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    }
    # Processes of our own rather than a pool: they need no `if __name__ == "__main__"` in the caller's script.
    running = [
        subprocess.Popen(
            [*command, f"{i}/{workers}"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        for i in range(workers)
    ]
    errors: list[str] = [""] * workers
    try:
        with tqdm(total=total, desc=f"rendering {category}", unit="image", disable=None, leave=False) as bar:
            readers = [threading.Thread(target=_follow, args=(p, i, bar, errors)) for i, p in enumerate(running)]
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join()
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
            process.wait()
    for process, text in zip(running, errors, strict=True):
        if process.returncode:
            _explain(category, process.returncode, text)


def _follow(process: subprocess.Popen[str], number: int, bar: tqdm, errors: list[str]) -> None:
    for _ in process.stdout or ():
        bar.update()
    errors[number] = process.stderr.read() if process.stderr else ""


def _explain(category: str, code: int, text: str) -> None:
    last = text.strip().splitlines()[-1] if text.strip() else f"a worker ended with code {code}"
    if told := re.fullmatch(r"CannotWrite: (.*)", last):
        raise CannotWrite(told[1])
    raise PadimError(f"rendering the twin's {category} failed: {last}")
