"""Executes chapters where they are and stores their outputs, without times, versions or paths of this machine.

python book/execute.py notebooks/metrics.ipynb ...
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def execute(path: Path) -> None:
    """Run all cells in the notebook's folder; on an error nothing is written."""
    notebook = nbformat.read(path, 4)
    client = NotebookClient(
        notebook,
        timeout=1800,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
    )
    client.execute()
    CoalesceStreamsPreprocessor().preprocess(notebook, {})  # how a cell's text arrived in pieces is chance
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    nbformat.write(notebook, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="+", type=Path)
    for path in parser.parse_args().notebooks:
        execute(path)
        print(path)


if __name__ == "__main__":
    main()
