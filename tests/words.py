"""The words of this project: the field's own, one for each thing, in American spelling. `make lint` runs it.

python tests/words.py [FILE OR FOLDER ...]
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("padim_nb", "book", "notebooks", "benchmarks", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md",
          "SECURITY.md", "CHANGELOG.md", "paper.md")  # fmt: skip

# In names, prose, comments and messages: what is not used, and what is used instead.
WORDS = {
    r"pictures?": "image (figure for a plot)",
    r"taps?|tapped": "layer",
    r"eyes?": "receptive field, AnomalyMapModel",
    r"rooms?|houses?|floors?": "package, module, layer; memory, space",
    r"slips|thinn?(?= form)": "quirks; low-rank form",
    r"how far it lies|what is found|what it says|what it sees|be as if|takes? in|take_in|be_as_if": "the field's words",
    r"settles?d?|pays|tells?|told": "reset, skip, print, record, show",
    r"descriptions?": "embedding, feature vector, feature map (description is the PDN's word)",
    r"noisenet(?:18)?": "gone: efficientnet-lite0",
    r"colou?red? grey|greys?|greyscale|(?:dis)?colour\w*": "color, gray",
    r"\w*(?:normal|standard|initial|optim|visual|minim|maxim|general|summar|recogn|organ|penal|serial|local)"
    r"is(?:e|ed|es|ing|ation|ations|er|ers)": "-ize",
    r"centred?|centres|behaviours?|licence[sd]?|artefacts?|neighbours?\w*|favour\w*|judgement|catalogue": "American",
    r"learnt|spoilt|misspelt|analyse[sd]?|modelling|labelled|labelling|metres?|distils?": "American spelling",
}  # fmt: skip
# As names in code: what they say is how a value came to be, not what it holds.
NAMES = {"found", "kept", "told", "each", "some", "keep", "tell", "made", "pays", "settle", "settles", "settled",
         "follow", "follows", "halves", "few", "course", "be_as_if", "take_in"}  # fmt: skip

# The honest exceptions, each with its reason.
ALLOWED = [
    (r"padim_nb/twin/", r".*", "the renderer speaks of real things: walls, floors, colored wires"),
    (r".*", r"math\.floor|np\.floor|(torch|np)\.eye|torch\.floor|\bfloor_divide|\.floor\(|bilinear-floor", "rounding"),
    (r".*", r"description\s*=|\.description|[Pp]atch[- _]descriptions?|PDN", "argparse's and the PDN's word"),
    (r".*padim.*", r"bilinear-floor", "the name of a resampling"),
    (r"(README|CONTRIBUTING|CHANGELOG)\.md", r"make floor", "a target of the Makefile"),
    (r"CHANGELOG.md", r"noisenet", "what was removed"),
    (r"notebooks/mvtec_and_its_twin", r"scene\.colours", "a field of the renderer's"),
    (r"notebooks/.*", r"^!\[|image/png", "an attachment, not prose"),
]  # fmt: skip
SUFFIXES = {".py", ".md", ".ipynb", ".js", ".css", ".yml"}
PATTERNS = [
    (re.compile(rf"(?<![A-Za-z])(?:{words})(?![A-Za-z])", re.IGNORECASE), instead) for words, instead in WORDS.items()
]


def main(arguments: list[str]) -> int:
    """Print one line for every word that should be another; exit code 1 when there is one."""
    problems = [line for path in files(arguments or PLACES) for line in check(path)]
    print(*problems, *([f"{len(problems)} words to change"] if problems else []), sep="\n", end="\n" * bool(problems))
    return 1 if problems else 0


def files(places: list[str] | tuple[str, ...]) -> Iterator[Path]:
    """All files of a kind that is checked below these places, sorted."""
    for place in places:
        path = ROOT / place
        candidates = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (
            candidate
            for candidate in candidates
            if candidate.suffix in SUFFIXES and candidate.is_file() and "runs" not in candidate.relative_to(ROOT).parts
        )


def check(path: Path) -> list[str]:
    """'file:line: word -> instead' for each word of a file that should be another."""
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    exceptions = [re.compile(line) for place, line, _ in ALLOWED if re.match(place, name)]
    problems = []
    for place, text in _texts(path, name):
        for line, content in enumerate(text.splitlines(), 1):
            if any(exception.search(content) for exception in exceptions):
                continue
            where = f"{place}:{line}"
            for pattern, instead in PATTERNS:
                problems += [f"{where}: {match[0]} -> {instead}" for match in pattern.finditer(content)]
        if path.suffix in (".py", ".ipynb") and not any(exception.pattern == ".*" for exception in exceptions):
            problems += [f"{place}:{line}: name {word} -> say what it holds" for line, word in _names(text)]
    return problems


def _texts(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """The parts of a file that people write: the whole file, or the source of a notebook's cells."""
    if path.suffix != ".ipynb":
        yield name, path.read_text(encoding="utf-8")
        return
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        yield f"{name}#{number}", "".join(cell["source"])


def _names(source: str) -> Iterator[tuple[int, str]]:
    """Names that this source gives to variables, arguments and functions, and that are among NAMES."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a page's prose, or a notebook's magic
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            word = node.id
        elif isinstance(node, ast.arg):
            word = node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            word = node.name
        else:
            continue
        if word.strip("_").lower() in NAMES:
            yield node.lineno, word


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
