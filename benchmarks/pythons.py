"""One category from the built wheel, in an empty environment of each Python that is here: the records must agree.

python benchmarks/pythons.py [--pythons 3.11 3.12 PATH/TO/python3.12 ...] [--out data/records/pythons.json]

Each environment takes the newest versions that its Python allows, not those of the lock.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from padim_nb.util.machine import machine

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SHOWN = ("python", "torch", "numpy", "scipy", "pillow")


def uv(*arguments: object) -> bool:
    """Whether uv did it; its message on a Python that is not here is not for us."""
    beside = Path(sys.executable).with_name("uv")
    command = [str(beside if beside.is_file() else shutil.which("uv")), *map(str, arguments), "--quiet"]
    here = os.environ | {"UV_PYTHON_DOWNLOADS": "never"}
    return subprocess.run(command, env=here, stderr=subprocess.DEVNULL).returncode == 0


def record_of(python: str, wheel: Path, category: str, place: Path) -> dict | None:
    """The record of a run by this Python, or None where it is not on this machine."""
    place.mkdir()
    if not uv("venv", "--python", python, place / "venv"):
        return None
    if not uv("pip", "install", "--python", place / "venv", f"{wheel}[run]"):
        raise SystemExit(f"the wheel cannot be installed for Python {python}")
    command = [place / "venv" / "bin" / "padim-nb", "run", category, "--data", "twin:lite", "--out", place / "run"]
    subprocess.run(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    record = json.loads((place / "run" / "record.json").read_text())
    shutil.rmtree(place)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pythons", nargs="+", default=list(PYTHONS))
    parser.add_argument("--category", default="cable")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows, first, widest = [], None, 0.0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if not uv("build", "--wheel", "--out-dir", place, ROOT):
            raise SystemExit("the wheel cannot be built")
        (wheel,) = place.glob("*.whl")
        with ThreadPoolExecutor(2) as pool:  # two at a time: much of it is files that are copied
            own = [place / str(number) for number in range(len(arguments.pythons))]
            records = pool.map(
                lambda python, folder: record_of(python, wheel, arguments.category, folder), arguments.pythons, own
            )
        for python, record in zip(arguments.pythons, records, strict=True):
            if record is None:
                rows.append({"python": python, "not run": "not on this machine"})
                continue
            figures = {**record["metrics"], "threshold": record["threshold"]["value"]}
            first = first or figures
            widest = max(widest, *(abs(value - first[name]) for name, value in figures.items()))
            rows.append({name: record["versions"][name] for name in SHOWN} | {"image_auroc": figures["image_auroc"]})
    record = {
        "benchmark": "pythons",
        "machine": machine("cpu"),
        "category": arguments.category,
        "figures compared": list(first or ()),
        "largest difference of any figure from the first row": widest,
        "rows": rows,
    }
    print(json.dumps(record, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
