"""Imports only go down the floors of ARCHITECTURE.md, and every room stands in that table."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "padim_nb"


def floors() -> dict[str, int]:
    """Room -> floor, read from the table in ARCHITECTURE.md."""
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", (ROOT / "ARCHITECTURE.md").read_text(), flags=re.M)
    return {
        room.rstrip("/").removesuffix(".py"): int(floor)
        for floor, rooms in rows
        for room in re.findall(r"`([\w./]+)`", rooms)
    }


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """The rooms of this package that a module imports, also inside functions."""
    depth = len(path.relative_to(PACKAGE).parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level == depth:
                found |= {module.split(".")[0]} if module else {alias.name for alias in node.names}
            elif node.level == 0 and module.split(".")[0] == "padim_nb":
                rest = module.split(".")[1:]
                found |= {rest[0]} if rest else {alias.name for alias in node.names}
    return found - {"__version__"}


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_only_go_down(path):
    table = floors()
    here = room_of(path)
    assert here in table, f"{here} is missing from the table in ARCHITECTURE.md"
    for other in imported_rooms(path) - {here}:
        assert other == "errors" or table[other] < table[here], (
            f"{here} (floor {table[here]}) imports {other} (floor {table[other]})"
        )


def test_the_table_names_only_rooms_that_exist():
    rooms = {room_of(path) for path in MODULES} | {"assets"}
    assert set(floors()) <= rooms


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_modules_stay_small_and_say_what_they_are_for(path):
    source = path.read_text()
    assert source.count("\n") <= 250, "split it: one idea a module"
    if source.strip():
        assert ast.get_docstring(ast.parse(source)), "a module opens with a line that says what it is for"
