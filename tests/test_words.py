"""The check of words finds what it should, leaves the listed exceptions alone, and reads notebooks."""

import json

import pytest
import words


def problems(tmp_path, text, name="x.py"):
    path = tmp_path / name
    path.write_text(text)
    return words.check(path)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("def load_pictures(): ...", "pictures"),
        ("# the taps of a network", "taps"),
        ("TAPS = 3", "TAPS"),
        ("normalised = 1", "normalised"),
        ("'a grey image'", "grey"),
        ("for each in (): ...", "name each"),
        ("def f(some): ...", "name some"),
        ("rows = [found for found in ()]", "name found"),
        ("# what it sees of a patch", "what it sees"),
        ("# a description of the patch", "description"),
    ],
)
def test_a_word_of_the_wrong_column_is_found_with_its_line(tmp_path, text, word):
    (problem,) = problems(tmp_path, "\n" + text)
    assert problem.startswith("x.py:2: ") and f"{word} ->" in problem


@pytest.mark.parametrize(
    "text",
    ["images = 1", "# each image that was found is kept", "otherwise = precise = noise", "parser(description=1)",
     "# the patch description network (PDN)", "math.floor(2.5)", "imread(Image)", "collected = 1"],
)  # fmt: skip
def test_what_may_be_said_is_not_found(tmp_path, text):
    assert problems(tmp_path, text) == []


def test_a_notebook_is_read_by_its_sources_alone(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["one\n", "a picture"], "outputs": []},
        {"cell_type": "code", "source": ["kept = 1"], "outputs": [{"text": "picture"}]},
    ]
    assert problems(tmp_path, json.dumps({"cells": cells}), "x.ipynb") == [
        "x.ipynb#0:2: picture -> image (figure for a plot)",
        "x.ipynb#1:1: name kept -> say what it holds",
    ]


def test_every_place_that_is_checked_is_there():
    assert all((words.ROOT / place).exists() for place in words.PLACES)
    assert len(list(words.files(words.PLACES))) > 100
