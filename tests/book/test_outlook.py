"""What the pages on other tools and later methods claim: each test they name is there, each figure has its source."""

import csv
import re

import pytest
from built import ROOT

ASKED, AFTER, REFERENCES = (
    (ROOT / "book" / name).read_text(encoding="utf-8") for name in ("asked.md", "after.md", "references.bib")
)
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", ASKED)))


def rows(text: str) -> list[list[str]]:
    """The cells of all rows of a page's tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads = {number - 1 for number, line in enumerate(lines) if set(line) <= set("|-")}
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for number, line in enumerate(lines)
        if number not in heads and number - 1 not in heads
    ]


@pytest.mark.parametrize(("file", "name"), NAMED, ids=lambda value: value)
def test_every_test_that_a_page_names_is_there(file, name):
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), flags=re.M)


def test_every_complaint_has_its_threads_an_answer_and_a_test():
    threads = r"[ANXK] \d+(?:, \d+)*(?:; [ANXK] \d+(?:, \d+)*)*"
    entry = rf"^.+ \*{threads}\*\n: .+\n  Test: `tests/[\w/]+\.py::\w+`$"
    entries = re.findall(entry, ASKED, flags=re.M)
    assert len(entries) == ASKED.count("\n: ") > 15


def test_every_published_figure_has_a_source_that_can_be_looked_up():
    known = set(re.findall(r"^@\w+\{(\w+),", REFERENCES, flags=re.M))
    assert set(re.findall(r"\{cite:[tp]\}`(\w+)`", AFTER)) <= known
    table = [cells for cells in rows(AFTER) if len(cells) == 5]
    assert len(table) > 12
    for cells in table:
        assert re.search(r"\{cite:t\}`\w+`|arXiv:\d{4}\.\d{5}|^the same$", cells[-1]), cells


def test_the_means_of_the_aupimo_benchmark_are_those_of_the_published_file():
    with (ROOT / "data" / "published" / "peers.csv").open(encoding="utf-8") as file:
        published = {
            (row["metric"], row["row"]): float(row["value"])
            for row in csv.DictReader(file)
            if row["source"] == "aupimo-benchmark" and row["category"] == "mean_all"
        }
    shown = [cells for cells in rows(AFTER) if len(cells) == 4]
    assert len(shown) == 4
    for detector, *values in shown:
        name = detector.replace(", ResNet-18", "-R18").replace(", WideResNet-50", "-WR50")
        for metric, value in zip(("pixel_auroc", "aupro", "aupimo"), values, strict=True):
            assert float(value) == pytest.approx(100 * published[metric, name]), (name, metric)
