"""Solutions of the exercises: each exercise has one in code, and `make solutions` (in `make torture`) runs them all."""

import importlib.util
import re
import subprocess
import sys

import nbformat
import pytest
from built import ROOT

SPEC = importlib.util.spec_from_file_location("solutions", ROOT / "book" / "solutions.py")
solutions = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(solutions)
CHAPTERS = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if "## Exercises" in path.read_text()]
LATER = {
    "efficientad",
    "efficientad_from_scratch",
    "logical_defects",
    "published_tables",
    "your_own_parts",
}  # have hints and text yet
LONGEST = 18


def exercises(path):
    """The exercises of a chapter, each with what is folded below it."""
    cells = nbformat.read(path, 4).cells
    (text,) = [cell.source for cell in cells if cell.cell_type == "markdown" and "## Exercises" in cell.source]
    return re.split(r"^(?=\**\d\.)", text.partition("## Exercises")[2], flags=re.M)[1:]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_exercise_but_the_project_has_a_solution_in_code(path):
    if path.stem in LATER:
        pytest.skip("its exercises are still to be solved in code")
    for exercise in exercises(path):
        if "project" not in exercise.splitlines()[0].lower():
            (folded,) = solutions.DROPDOWN.findall(exercise)
            assert len(solutions.CODE.findall(folded)) == 1, exercise


def test_solutions_are_short_and_clean(tmp_path):
    for path in CHAPTERS:
        for number, code in enumerate(solutions.solutions(nbformat.read(path, 4))):
            assert len(code.splitlines()) <= LONGEST, code
            (tmp_path / f"{path.stem}_{number}.py").write_text(code)
    ruff = [sys.executable, "-m", "ruff"]
    choice = [
        "--select",
        "E4,E7,E9,F",
        "--ignore",
        "E402,F811,F821",
        "--line-length",
        "88",
        "--isolated",
    ]  # names: the chapter's
    done = subprocess.run([*ruff, "check", *choice, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
