"""A Sphinx extension that puts a quiz before the exercises of each chapter that has a file in `book/quizzes/`.

book/quizzes/metrics.yml is the quiz of the chapter metrics. Each of its three to five questions has answers, and every
answer, right or wrong, says why:

    - ask: What is $\\mu$?
      answers:
        - {text: The mean of all patches, why: There is one mean for each place.}
        - {text: The mean of the patches at this place, right: true, why: Over all good training images.}

An answer is an HTML `details` element: it works by mouse, finger and keyboard and without any script. `quizzes.js` only
counts how many questions were answered right at once. Answers are shown in an order of the build's own. Notebooks hold
no quiz themselves.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

QUIZZES = Path(__file__).resolve().parents[1] / "quizzes"
FEWEST, MOST = 3, 5
EXERCISES = re.compile(r"^## (?:Exercises|Projects)\b", re.MULTILINE)
VERDICTS = {True: "Right.", False: "No."}


class Quiz(nodes.General, nodes.Element):
    """A chapter's questions."""


class Answer(nodes.General, nodes.Element):
    """An answer, folded: its first child is the answer, the others say whether it is right and why."""


class QuizDirective(SphinxDirective):
    """`{quiz} NAME`: the questions of book/quizzes/NAME.yml."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Questions in order, each with its answers."""
        path = QUIZZES / f"{self.arguments[0]}.yml"
        self.env.note_dependency(str(path))
        quiz = Quiz()
        for number, question in enumerate(questions(path), 1):
            block = nodes.container(classes=["quiz-question"])
            block += self.parsed(f"**{number}.** {question['ask']}", path)
            for answer in shuffled(question):
                right = bool(answer.get("right"))
                folded = Answer(right=right)
                folded += self.parsed(answer["text"], path)[:1]
                folded += self.parsed(f"**{VERDICTS[right]}** {answer['why']}", path)
                block += folded
            quiz += block
        return [quiz]

    def parsed(self, text: str, path: Path) -> list[nodes.Node]:
        """MyST text as nodes."""
        holder = nodes.Element()
        self.state.nested_parse(StringList(text.strip().splitlines(), str(path)), 0, holder)
        return holder.children


def questions(path: Path) -> list[dict[str, Any]]:
    """The questions of a file; ExtensionError where one is not as it must be."""
    rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not FEWEST <= len(rows) <= MOST:
        raise ExtensionError(f"{path.name} has {len(rows)} questions, not {FEWEST} to {MOST}")
    for row in rows:
        answers = row["answers"]
        if len(answers) < 2 or not any(answer.get("right") for answer in answers):
            raise ExtensionError(f"{path.name}: a question needs two answers, one of them right: {row['ask']}")
        if all(answer.get("right") for answer in answers) or not all(answer.get("why") for answer in answers):
            raise ExtensionError(f"{path.name}: a question needs a wrong answer, and each answer a why: {row['ask']}")
    return rows


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    plain = (_nothing, _nothing)
    app.add_node(Quiz, html=(open_quiz, close_quiz), latex=plain, text=plain, man=plain, texinfo=plain)
    app.add_node(Answer, html=(open_answer, close_answer), latex=plain, text=plain, man=plain, texinfo=plain)
    app.add_directive("quiz", QuizDirective)
    app.connect("source-read", insert)
    app.connect("html-page-context", add_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def insert(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the quiz of a chapter into its source, before the exercises or at the end."""
    name = Path(docname).name
    if not (QUIZZES / f"{name}.yml").is_file():
        return
    block = f"## Quiz\n\n:::{{quiz}} {name}\n:::\n\n"
    if Path(app.env.doc2path(docname)).suffix != ".ipynb":
        source[0] = _before_exercises(source[0], block) or f"{source[0].rstrip()}\n\n{block}"
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and (changed := _before_exercises(text, block)):
            cell["source"] = changed
            break
    else:
        notebook["cells"].append({"cell_type": "markdown", "id": "quiz", "metadata": {}, "source": block})
    source[0] = json.dumps(notebook)


def shuffled(question: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers of a question in an order that no author chose and no build changes."""
    return sorted(question["answers"], key=lambda a: hashlib.sha256((question["ask"] + a["text"]).encode()).digest())


def _before_exercises(text: str, block: str) -> str:
    """The text with the block before its exercises; "" where it has none."""
    heading = EXERCISES.search(text)
    return text[: heading.start()] + block + text[heading.start() :] if heading else ""


def open_quiz(translator: nodes.NodeVisitor, node: Quiz) -> None:
    """A quiz."""
    translator.body.append('<div class="quiz">\n')


def close_quiz(translator: nodes.NodeVisitor, node: Quiz) -> None:
    """Its end, with the place where the script counts."""
    translator.body.append('<p class="quiz-count" role="status"></p>\n</div>\n')


def open_answer(translator: nodes.NodeVisitor, node: Answer) -> None:
    """An answer with its text as the summary of what is folded."""
    verdict = "right" if node["right"] else "wrong"
    translator.body.append(f'<details class="quiz-answer quiz-{verdict}">\n<summary>')
    node.children[0].walkabout(translator)
    translator.body.append("</summary>\n")
    del node.children[0]


def close_answer(translator: nodes.NodeVisitor, node: Answer) -> None:
    """Its end."""
    translator.body.append("</details>\n")


def add_script(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None) -> None:
    """Load the script on pages that have a quiz."""
    if doctree is not None and any(doctree.findall(Quiz)):
        app.add_js_file("quizzes.js", loading_method="defer")


def _nothing(translator: nodes.NodeVisitor, node: nodes.Element) -> None:
    pass
