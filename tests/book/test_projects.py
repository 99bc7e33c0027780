"""The self-checks of the class projects: a right solution passes, a typical mistake is named."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from scipy.stats import binomtest

ROOT = Path(__file__).parents[2]
CHECK = ROOT / "book" / "projects" / "check.py"

NAMES = ("gaussian", "auroc", "threshold", "nearest", "coreset")
RIGHT = {name: (ROOT / "book" / "projects" / "teacher" / f"{name}.py").read_text(encoding="utf-8") for name in NAMES}
WRONG = [  # project, what is replaced, by what, and a word of the message
    ("gaussian", "np.cov(x.T)", "np.cov(x.T, bias=True)", "n - 1"),
    ("gaussian", " + 0.01 * np.eye(x.shape[1])", "", "0.01 I"),
    ("gaussian", "x.mean(0)", "x.mean(1)", "axis 0"),
    ("gaussian", "np.sqrt((z**2).sum(0))", "(z**2).sum(0)", "root"),
    ("auroc", " + 0.5 * (bad[:, None] == good).mean()", "", "one half"),
    ("auroc", "bad[:, None] > good", "bad[:, None] < good", "must be 1"),
    ("threshold", "np.sort(scores)[min(k, len(scores)) - 1]", "np.quantile(scores, 1 - alpha)", "n + 1"),
    ("threshold", "len(scores) + 1", "len(scores)", "k-th smallest"),
    ("threshold", "min(k, len(scores)) - 1", "k - 1", "IndexError"),
    ("nearest", ".min(1)", ".mean(1)", "smallest"),
    ("nearest", "axis=2).min(1)", "axis=2).min(0)", "one a patch"),
    ("coreset", "np.minimum(nearest, ", "(", "nearest* chosen"),
    ("coreset", "chosen = [first]", "chosen = [0]", "not the one given"),
]


def checked(tmp_path: Path, project: str, source: str) -> tuple[int, str]:
    path = tmp_path / "work.py"
    path.write_text(source, encoding="utf-8")
    done = subprocess.run([sys.executable, CHECK, project, path], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("project", RIGHT)
def test_a_right_solution_passes(tmp_path, project):
    assert checked(tmp_path, project, RIGHT[project]) == (0, f"{project}: all checks hold\n")


@pytest.mark.parametrize(("project", "old", "new", "word"), WRONG)
def test_a_typical_mistake_is_named(tmp_path, project, old, new, word):
    assert old in RIGHT[project]
    code, message = checked(tmp_path, project, RIGHT[project].replace(old, new))
    assert code == 1
    assert word in message and message.count("\n") == 1


def test_every_project_is_on_the_page_and_a_wrong_call_lists_them(tmp_path):
    done = subprocess.run([sys.executable, CHECK], capture_output=True, text=True, check=False)
    page = (ROOT / "book" / "teach.md").read_text(encoding="utf-8")
    assert done.returncode == 2
    for project in RIGHT:
        assert f"\n{project} " in done.stdout
        assert f"`{project}`" in page
    code, message = checked(tmp_path, "auroc", "")
    assert code == 1 and "auroc(scores, labels)" in message


def test_the_teachers_pages_are_not_in_the_book_and_their_arithmetic_holds():
    teacher = ROOT / "book" / "projects" / "teacher"
    assert "projects/" not in (ROOT / "_toc.yml").read_text(encoding="utf-8")
    text = (teacher / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^\d+\. \*.+\* \(\d\)$|^\d+\. \*.+\* \(\d points\)$", text, flags=re.M)) == 10
    assert round(100 * (1 - 0.05 ** (1 / 20))) == 14 and 0.99**299 < 0.05 < 0.99**298
    broken = [n for n in range(21) if binomtest(n, 20, 0.1, "greater").pvalue < 0.05]
    assert broken[0] == 5 and "a promise of 10 % is broken at five stopped ones" in text


def test_the_solved_hidden_set_is_read_by_the_grader(parts, tmp_path):
    folder = tmp_path / "widget-ada"
    shutil.copytree(parts / "widget" / "train", folder / "train")
    shutil.copytree(parts / "widget" / "test" / "good", folder / "hidden")
    script, out = ROOT / "book" / "projects" / "teacher" / "hidden.py", tmp_path / "scores.csv"
    subprocess.run([sys.executable, script, folder, out], check=True)
    key = tmp_path / "key.csv"
    rows = [f"{path.name},{number % 2},odd" for number, path in enumerate(sorted((folder / "hidden").iterdir()))]
    key.write_text("\n".join(["image,label,defect", *rows]))
    grade = [sys.executable, ROOT / "book" / "projects" / "grade.py", "grade", key, out]
    assert "sum" in subprocess.run(grade, capture_output=True, text=True, check=True).stdout
