"""Sentences of the book that state a number, beside what proves them: `claims.yaml`, in the order of the pages.

Each claim names a page and words of it (`says`), and one proof:

- `record` with `path` (keys, numbers, or {key: value} for the entry of a list that has it): the value, after `formula`
  where there is one, rounds to `number`, which stands in the words;
- `cell`: a regular expression that a stored output of the page (or of `notebook`) matches;
- `python`: an expression that gives True, or `number` rounded; it may use `NAMES`.
"""

import json
import re
from functools import cache
from pathlib import Path
from statistics import mean

import nbformat
import pytest
import yaml

from padim_nb.util.mvtec_counts import published

ROOT = Path(__file__).parents[2]
CLAIMS = yaml.safe_load((Path(__file__).parent / "claims.yaml").read_text(encoding="utf-8"))


@cache
def text_of(page: str) -> str:
    """The prose of a page or chapter on one line."""
    if page.endswith(".ipynb"):
        cells = nbformat.read(ROOT / page, 4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    else:
        text = (ROOT / page).read_text(encoding="utf-8")
    return " ".join(text.split())


@cache
def outputs_of(page: str) -> str:
    """What the cells of a chapter printed, the plain form of tables included."""
    cells = nbformat.read(ROOT / page, 4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


def value_at(record: str, path: list):
    value = json.loads((ROOT / record).read_text(encoding="utf-8"))
    for step in path:
        if isinstance(step, dict):
            (value,) = [entry for entry in value if step.items() <= entry.items()]
        else:
            value = value[step]
    return value


@cache
def runs_of(recipe: str) -> list[dict]:
    """All records of a recipe on the twin."""
    rows = [json.loads(path.read_text()) for path in sorted((ROOT / "data" / "records").glob("twin*/*.json"))]
    return [row for row in rows if row["recipe"] == recipe]


def twin(recipe: str, metric: str = "image_auroc") -> dict[str, float]:
    """A metric of a recipe on the twin by category, the mean of its seeds."""
    rows = runs_of(recipe)
    names = {row["category"] for row in rows}
    return {name: mean(row["metrics"][metric] for row in rows if row["category"] == name) for name in names}


def kind(recipe: str, category: str, defect: str) -> float:
    """The image AUROC of one kind of defect, the mean of the recipe's seeds."""
    rows = [row["per_defect"] for row in runs_of(recipe) if row["category"] == category]
    return mean(entry["image_auroc"] for row in rows for entry in row if entry["defect"] == defect)


def rounds_to(value: float, number: str) -> bool:
    digits = len(number.partition(".")[2])
    return abs(value - float(number)) <= 0.5 * 10**-digits + 1e-9


NAMES = {"published": published, "twin": twin, "kind": kind, "runs_of": runs_of, "value_at": value_at, "mean": mean}


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{Path(claim['page']).stem}: {claim['says'][:50]}")
def test_a_sentence_stands_and_is_proved(claim):
    words, number = " ".join(claim["says"].split()), claim.get("number")
    assert words in text_of(claim["page"]), "the sentence has changed: check what proves it, then change the claim"
    assert number is None or number in words.replace(",", ""), "the number is not in the sentence"
    if "record" in claim:
        value = value_at(claim["record"], claim["path"])
        value = eval(claim["formula"], {"value": value}) if "formula" in claim else value
        assert rounds_to(value, number), f"the record says {value}"
    elif "cell" in claim:
        assert re.search(claim["cell"], outputs_of(claim.get("notebook", claim["page"]))), "no cell prints this"
    else:
        value = eval(claim["python"], NAMES)
        assert rounds_to(value, number) if number else value is True, f"it is {value}"


def test_the_table_covers_the_pages_that_state_numbers():
    pages = {claim["page"] for claim in CLAIMS}
    assert {"README.md", "book/intro.md"} <= pages
    assert len(pages) >= 10 and len(CLAIMS) >= 60


def test_a_wrong_number_is_noticed():
    assert rounds_to(0.7446, "0.745") and rounds_to(5.49, "5.5")
    assert not rounds_to(0.7444, "0.745")
    assert not rounds_to(5.56, "5.5")
