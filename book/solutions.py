"""Executes chapters with the solutions of their exercises after the last cell; nothing is written.

python book/solutions.py notebooks/metrics.ipynb ...
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

DROPDOWN = re.compile(r"^:::\{dropdown\} Solution\n(.*?)^:::$", flags=re.S | re.M)
CODE = re.compile(r"^```python\n(.*?)^```$", flags=re.S | re.M)


def solutions(notebook: nbformat.NotebookNode) -> list[str]:
    """The code of all solutions, in order."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return [code for folded in DROPDOWN.findall(text) for code in CODE.findall(folded)]


def run(path: Path) -> None:
    """All cells and then all solutions, in one kernel; an error stops it."""
    notebook = nbformat.read(path, 4)
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in solutions(notebook)]
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=resources).execute()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="+", type=Path)
    for path in parser.parse_args().notebooks:
        run(path)
        print(path)


if __name__ == "__main__":
    main()
