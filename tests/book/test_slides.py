"""Slides: every figure of a chapter, its formulas and lists; the prose as notes; no address elsewhere."""

import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
from slides import main, slides_of  # noqa: E402

CHAPTERS = (ROOT / "notebooks" / "tested.txt").read_text(encoding="utf-8").split()


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapters_slides_have_its_headings_and_figures_and_load_nothing_from_elsewhere(name):
    page = slides_of(ROOT / name)
    before = "\n".join(cell.source for cell in nbformat.read(ROOT / name, 4).cells if cell.cell_type == "markdown")
    before = re.split(r"^## (?:Exercises|Projects)", before, maxsplit=1, flags=re.MULTILINE)[0]
    assert page.count("<h2>") == len(re.findall(r"^##+ ", before, flags=re.MULTILINE))
    assert page.count("<h1>") == 1
    outputs = [o for cell in nbformat.read(ROOT / name, 4).cells for o in cell.get("outputs", [])]
    drawn = sum("image/png" in o.get("data", {}) or "image/jpeg" in o.get("data", {}) for o in outputs)
    assert page.count("<img ") == drawn
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert page.count("<section>") == page.count("</section>") >= 3
    assert ":::" not in page and "{doc}" not in page


def test_prose_is_spoken_and_formulas_are_shown():
    page = slides_of(ROOT / "notebooks" / "padim_gaussians.ipynb")
    shown = re.sub(r'<aside class="notes">.*?</aside>', "", page, flags=re.DOTALL)
    assert r"\Sigma = \frac{1}{n-1}" in shown
    assert "Count, mean and scatter are enough" in page
    assert "Count, mean and scatter are enough" not in shown


def test_an_unknown_chapter_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), "padim_gausians"])
    assert stopped.value.code == 2
    assert "padim_gaussians" in capsys.readouterr().err
