"""The self-checks of the class projects: a right solution passes, a typical mistake is named."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECK = ROOT / "book" / "projects" / "check.py"

RIGHT = {
    "gaussian": """
def fit(x):
    return x.mean(0), np.cov(x.T) + 0.01 * np.eye(x.shape[1])
def distances(x, mean, covariance):
    z = np.linalg.solve(np.linalg.cholesky(covariance), (x - mean).T)
    return np.sqrt((z**2).sum(0))
""",
    "auroc": """
def auroc(scores, labels):
    good, bad = scores[labels == 0], scores[labels == 1]
    above = (bad[:, None] > good).mean()
    return above + 0.5 * (bad[:, None] == good).mean()
""",
    "threshold": """
def threshold(scores, alpha):
    k = int(np.ceil(np.round((len(scores) + 1) * (1 - alpha), 9)))
    return np.sort(scores)[min(k, len(scores)) - 1]
""",
    "nearest": """
def score(memory, patches):
    return np.linalg.norm(patches[:, None] - memory, axis=2).min(1)
""",
    "coreset": """
def coreset(vectors, k, first):
    chosen = [first]
    nearest = np.linalg.norm(vectors - vectors[first], axis=1)
    while len(chosen) < k:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(vectors - vectors[chosen[-1]], axis=1))
    return chosen
""",
}
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
    path.write_text(f"import numpy as np\n{source}", encoding="utf-8")
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
