"""The book's sources: stored outputs, short lines, sheets of the renderer as it is, no path of any machine."""

import json
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
import yaml

from padim_nb.plots.sheets import STAMP, stamp
from padim_nb.util.mvtec_counts import CATEGORIES, plan

ROOT = Path(__file__).parents[2]
TESTED = (ROOT / "notebooks" / "tested.txt").read_text().split()
NOTEBOOKS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "notebooks").glob("*.ipynb"))


def pages() -> list[str]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]


def test_every_notebook_is_tested_and_in_the_book():
    assert sorted(TESTED) == NOTEBOOKS
    assert {f"{page}.ipynb" for page in pages() if page.startswith("notebooks/")} == set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_executed_short_and_clean(name):
    notebook = nbformat.read(ROOT / name, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum(bool(cell.outputs) for cell in code) >= max(1, len(code) * 2 // 3), "outputs are not stored"
    for cell in code:
        assert cell.source.count("\n") < 25, f"a cell is too long:\n{cell.source}"
        assert all(len(line) <= 88 for line in cell.source.splitlines()), f"a line is too long:\n{cell.source}"
        assert not any(output.output_type == "error" for output in cell.outputs)
        assert not any(output.get("name") == "stderr" for output in cell.outputs)
    text = (ROOT / name).read_text()
    assert len(text) < 1_000_000
    assert not re.search(r"/(home|root|Users|work|tmp)/\w", text), "a path of somebody's machine"


def test_a_chapter_that_trains_shows_a_whole_training():
    trained = 0
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
        own = re.findall(r'"PADIM_NB_STEPS", (\d+)', "".join(cell.source for cell in cells))
        printed = "".join(output.get("text", "") for cell in cells for output in cell.outputs)
        assert all(f"after {steps} steps" in printed for steps in own), (
            f"{path.name}: execute it without PADIM_NB_STEPS"
        )
        trained += len(own)
    assert trained == 3


def test_contact_sheets_are_those_of_the_renderer_as_it_is():
    folder = ROOT / "book" / "images" / "twin"
    assert (folder / STAMP).read_text() == stamp(), "the renderer changed: `make sheets`, and look at them"
    for name in (*CATEGORIES, "gallery"):
        assert (folder / f"{name}.jpg").is_file()
    text = (ROOT / "book" / "twin.md").read_text()
    assert all(f"images/twin/{name}.jpg" in text for name in CATEGORIES)


def test_every_image_of_a_page_has_an_alternative_text():
    for page in (ROOT / "book").glob("*.md"):
        text = page.read_text()
        for block in re.findall(r"```\{image\}.*?```", text, flags=re.S):
            assert re.search(r":alt: \S+ \S+", block), f"{page.name}: {block}"
        assert not re.search(r"!\[\]\(", text)


def test_the_command_reference_names_every_verb(capsys):
    from padim_nb.cli import main

    text = (ROOT / "book" / "cli.md").read_text()
    for arguments in ([], ["data"], ["weights"]):
        with pytest.raises(SystemExit):
            main([*arguments, "--help"])
        verbs = re.findall(r"^    ([a-z]+) ", capsys.readouterr().out, flags=re.M)
        assert verbs
        for verb in verbs:
            assert re.search(rf"`(padim-nb )?({' '.join(arguments)} )?{verb}\b", text), verb


def test_every_name_of_the_api_page_is_there():
    names = re.findall(
        r"\.\. auto(?:function|class|module):: padim_nb\.([\w.]+)", (ROOT / "book" / "api.md").read_text()
    )
    assert len(names) > 20
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert (
            find_spec(f"padim_nb.{name}")
            if name == "evaluation.metrics"
            else hasattr(import_module(f"padim_nb.{module}"), attribute)
        ), name


def test_the_readme_says_of_anomalib_what_the_record_says():
    record = json.loads((ROOT / "data" / "records" / "end-to-end-cpu.json").read_text())
    (row,) = record["rows"]
    sentence = (
        f"anomalib {record['anomalib'][:3]} takes {row['times faster']:.1f} times as long with the same ResNet-18"
    )
    assert sentence in (ROOT / "README.md").read_text()
    ours, theirs = (row["metrics"][name] for name in ("ours", "anomalib"))
    assert all(abs(ours[key] - theirs[key]) < 1e-4 for key in ours)


def test_the_readme_example_is_the_code_that_runs(twin_cache):
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)[1]
    names: dict = {}
    exec(example, names)
    assert names["maps"].shape == (plan("cable", "lite").test, 256, 256)


def test_a_handout_has_the_exercises_and_neither_solutions_nor_outputs(tmp_path):
    done = subprocess.run([sys.executable, ROOT / "book" / "handout.py", tmp_path / "handout"], check=False)
    assert done.returncode == 0
    handout = {path.name: nbformat.read(path, 4) for path in (tmp_path / "handout").glob("*.ipynb")}
    assert set(handout) == {Path(name).name for name in NOTEBOOKS}
    for name, notebook in handout.items():
        text = "\n".join(cell.source for cell in notebook.cells)
        assert "{dropdown}" not in text, name
        assert not [cell for cell in notebook.cells if cell.get("outputs")]
    assert sum("## Exercises" in cell.source for notebook in handout.values() for cell in notebook.cells) >= 12


def test_a_notebook_with_one_figure_changed_fails_the_regression_test(tmp_path):
    chapter = nbformat.read(ROOT / "notebooks" / "published_tables.ipynb", 4)
    first = next(number for number, cell in enumerate(chapter.cells) if cell.cell_type == "code")
    chapter.cells = chapter.cells[: first + 1]
    nbformat.write(chapter, tmp_path / "whole.ipynb")
    printed = chapter.cells[first].outputs[0]
    assert re.search(r"\d", printed.text)
    printed.text = re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), printed.text, count=1)
    nbformat.write(chapter, tmp_path / "broken.ipynb")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "--nbval"]
    command += ["--nbval-current-env", "--nbval-sanitize-with", str(ROOT / "tests" / "nbval-sanitize.cfg")]
    done = subprocess.run([*command, tmp_path], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    assert "broken.ipynb::Cell 0" in done.stdout


def test_no_placeholder_was_left_in_a_page():
    for path in (*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "book").glob("*.md")):
        assert not re.search(r"TEXT_[A-Z]|\bTODO\b|\bFIXME\b", path.read_text(encoding="utf-8")), path
