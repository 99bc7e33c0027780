"""Copies the notebooks for a class: without outputs, and without the solutions that are folded below the exercises.

python book/handout.py FOLDER
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
SOLUTION = re.compile(r"^:::\{dropdown\} (?:Solution|Hint)\n.*?^:::\n?", flags=re.S | re.M)


def main(arguments: list[str]) -> int:
    """Write a copy of each chapter's notebook to the folder."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name in (ROOT / "notebooks" / "tested.txt").read_text().split():
        notebook = nbformat.read(ROOT / name, 4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
            else:
                cell.source = SOLUTION.sub("", cell.source)
        nbformat.write(notebook, folder / Path(name).name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
