"""The questions of the quizzes: whole, each of a chapter, and put before its exercises."""

import importlib.util
import json

import pytest
import yaml
from built import ROOT

FILES = sorted((ROOT / "book" / "quizzes").glob("*.yml"))
SPEC = importlib.util.spec_from_file_location("quizzes", ROOT / "book" / "_ext" / "quizzes.py")
quizzes = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(quizzes)


def test_every_quiz_is_of_a_page_and_every_chapter_with_exercises_has_one():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    pages = {chapter["file"].rpartition("/")[2] for part in toc["parts"] for chapter in part["chapters"]}
    names = {path.stem for path in FILES}
    assert names - pages == set()
    exercises = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb") if "## Exercises" in path.read_text()}
    assert (exercises & pages) - names == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_quiz_is_whole(path):
    for question in quizzes.questions(path):
        texts = [answer["text"] for answer in question["answers"]]
        assert len(set(texts)) == len(texts)
        assert sum(bool(answer.get("right")) for answer in question["answers"]) == 1


def right_is_longest(question):
    """Whether no other answer is longer than the right one."""
    answers = question["answers"]
    right = max(len(answer["text"]) for answer in answers if answer.get("right"))
    return right >= max(len(answer["text"]) for answer in answers)


def place_of_right(question):
    """At which place the right answer is shown."""
    return [bool(answer.get("right")) for answer in quizzes.shuffled(question)].index(True)


def guessable(rows):
    """What gives the right answers away to a reader who did not read the chapter; "" where nothing does."""
    longest = sum(map(right_is_longest, rows)) / len(rows)
    if longest > 0.4:
        return f"the right answer is the longest of {longest:.0%}"
    return "the right answer is always at one place" if len(set(map(place_of_right, rows))) == 1 else ""


def test_neither_length_nor_place_gives_the_right_answer_away():
    rows = [question for path in FILES for question in quizzes.questions(path)]
    assert guessable(rows) == ""
    places = [place_of_right(question) for question in rows]
    assert max(map(places.count, set(places))) / len(places) < 0.5


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_right_answer_is_not_at_one_place_in_a_quiz(path):
    assert len(set(map(place_of_right, quizzes.questions(path)))) > 1


def test_a_guessable_quiz_is_refused(monkeypatch):
    short, long = {"text": "no", "why": "."}, {"text": "yes, as it is so", "why": ".", "right": True}
    by_length = [{"ask": f"{number}?", "answers": [short, long]} for number in range(10)]
    assert guessable(by_length) == "the right answer is the longest of 100%"
    by_place = [{"ask": row["ask"], "answers": [short, long | {"text": "y"}]} for row in by_length]
    assert guessable(by_place) == ""
    monkeypatch.setattr(quizzes, "shuffled", lambda question: question["answers"])
    assert guessable(by_place) == "the right answer is always at one place"


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([{"text": "a", "why": "b"}, {"text": "c", "why": "d"}], "one of them right"),
        ([{"text": "a", "why": "b", "right": True}], "two answers"),
        ([{"text": "a", "right": True}, {"text": "c", "why": "d"}], "a why"),
    ],
)
def test_a_question_that_is_not_whole_stops_the_build(tmp_path, answers, message):
    (tmp_path / "chapter.yml").write_text(yaml.safe_dump([{"ask": "?", "answers": answers}] * 3))
    with pytest.raises(quizzes.ExtensionError, match=message):
        quizzes.questions(tmp_path / "chapter.yml")


def test_a_quiz_stands_before_the_exercises(monkeypatch, tmp_path):
    class App:
        class env:
            @staticmethod
            def doc2path(name):
                return f"{name}.ipynb"

    monkeypatch.setattr(quizzes, "QUIZZES", tmp_path)
    (tmp_path / "chapter.yml").write_text("")
    cell = {"cell_type": "markdown", "metadata": {}, "source": ["## Remember\n", "\n", "## Exercises\n", "1. Why?"]}
    source = [json.dumps({"cells": [cell]})]
    quizzes.insert(App, "notebooks/other", source)
    assert json.loads(source[0])["cells"] == [cell], "another chapter is left as it is"
    quizzes.insert(App, "notebooks/chapter", source)
    text = json.loads(source[0])["cells"][0]["source"]
    assert (
        text.index("## Remember") < text.index("## Quiz") < text.index(":::{quiz} chapter") < text.index("## Exercises")
    )
