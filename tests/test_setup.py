"""What a clone holds before any code runs: one set of constraints, a clean lock, the papers of an open project."""

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, TOOLS = SETUP["project"], SETUP["tool"]
ASKED_BY_THE_USER = {
    *("jupyterlab", "jupyter-book", "torch", "torchvision", "efficientnet_pytorch", "scikit-learn"),
    *("matplotlib", "seaborn", "papermill", "nbval"),
}


def requirements() -> list[str]:
    extras = PROJECT["optional-dependencies"]
    return PROJECT["dependencies"] + [line for name in ("run", "onnx", "lab", "book", "dev") for line in extras[name]]


def test_conda_and_pip_ask_for_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    nested = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert [line for line in nested if not line.startswith("-")] == requirements()
    assert f"python{PROJECT['requires-python']}" in environment["dependencies"]


def test_the_oldest_python_is_the_same_everywhere():
    oldest = PROJECT["requires-python"].removeprefix(">=")
    versions = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if line.startswith("Programming Language")]
    assert versions[0] == oldest
    assert f"You need Python {versions[0]} to {versions[-1]}" in (ROOT / "README.md").read_text()
    assert TOOLS["mypy"]["python_version"] == oldest
    assert TOOLS["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    assert f"OLDEST := {oldest}\n" in (ROOT / "Makefile").read_text()
    assert not re.search(rf"python_full_version < '{oldest}'", (ROOT / "requirements.lock").read_text())


@pytest.mark.parametrize("folder", ["padim_nb", "benchmarks", "book", "tests"])
def test_every_module_is_written_in_the_oldest_python(folder):
    """Its syntax; that names exist in its standard library is what mypy sees, which lint runs for this version."""
    oldest = tuple(int(number) for number in PROJECT["requires-python"].removeprefix(">=").split("."))
    for path in (ROOT / folder).rglob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=oldest)


def test_every_package_the_project_was_asked_to_use_is_there():
    names = {re.split(r"[=<>~!]", line)[0] for line in requirements()}
    assert names >= ASKED_BY_THE_USER


def test_jupyter_lab_renders_the_chapters_folded_solutions():
    chapters = [path for path in (ROOT / "notebooks").glob("*.ipynb") if ":::{dropdown}" in path.read_text()]
    assert chapters
    lab = PROJECT["optional-dependencies"]["lab"]
    assert any(re.match(r"jupyterlab-myst\b", line) for line in lab), "Jupyter Lab shows raw directives without it"


def test_lock_has_hashes_and_no_addresses():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert not re.search(r"^--(index|extra-index|find-links)", lock, flags=re.M)
    pinned = re.findall(r"^([\w.\-]+)==\S+[^\n]*\\\n((?:    --hash=sha256:[0-9a-f]{64}[^\n]*\n?)+)", lock, flags=re.M)
    entries = re.findall(r"^[\w.\-]+==", lock, flags=re.M)
    assert len(pinned) == len(entries) > 100


def test_lock_holds_every_requirement():
    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    locked = {
        plain(name) for name in re.findall(r"^([\w.\-]+)==", (ROOT / "requirements.lock").read_text(), flags=re.M)
    }
    for line in requirements():
        assert plain(re.split(r"[=<>~!]", line)[0]) in locked


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "CITATION.cff",
        "SECURITY.md",
        "_config.yml",
        "_toc.yml",
        "Makefile",
        ".ci/run",
        "CHANGELOG.md",
        "CODE_OF_CONDUCT.md",
        "paper.md",
        "paper.bib",
        "Dockerfile",
        ".devcontainer/devcontainer.json",
        ".github/ISSUE_TEMPLATE/bug.yml",
        "data/README.md",
        "notebooks/runs/.gitkeep",
    ],
)
def test_files_that_readers_look_for(name):
    assert (ROOT / name).exists()


def test_one_version_everywhere():
    import padim_nb

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["version"] == padim_nb.__version__ == citation["version"]
    released = f"## {PROJECT['version']} ({citation['date-released']})"
    assert released in (ROOT / "CHANGELOG.md").read_text().splitlines()
    assert f"version {PROJECT['version']}" in (ROOT / "book" / "elsewhere.md").read_text()


def test_issue_forms_and_the_paper_can_be_read():
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    for form in (yaml.safe_load(path.read_text()) for path in forms if path.name != "config.yml"):
        assert form["name"] and form["description"]
        assert all(field["attributes"]["label"] for field in form["body"])
    front, text = (ROOT / "paper.md").read_text().split("---\n", 2)[1:]
    assert yaml.safe_load(front)["bibliography"] == "paper.bib"
    cited = set(re.findall(r"@([a-z]+\d{4}[a-z]+)", text))
    assert cited == set(re.findall(r"^@\w+\{(\w+),", (ROOT / "paper.bib").read_text(), flags=re.M))


def test_the_container_installs_the_cpu_builds_and_names_no_address():
    lines = (ROOT / "Dockerfile").read_text()
    assert lines.count("FROM ") == 1 and "--torch-backend cpu" in lines
    assert not re.search(r"https?://|--(extra-)?index(-url)?\b|--find-links", lines)
    extras = re.search(r'--editable "\.\[([\w,]+)\]"', lines)[1].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"]) and {"run", "lab"} <= set(extras)
    assert re.search(r"^USER ", lines, flags=re.M), "Binder runs nothing as root"
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert (ROOT / ".devcontainer" / container["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"


@pytest.mark.parametrize(
    "name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md"]
)
def test_every_file_that_a_paper_names_is_there(name):
    text = (ROOT / name).read_text()
    paths = re.findall(r"`((?:[\w.]+/)*[\w.]+\.(?:py|md|toml|yml|csv|lock|cff))(?:::\w+\.*)?`", text)
    assert paths
    own = {"run_category.ipynb", "record.json", "test_padim.py"}
    places = (
        ROOT,
        ROOT / "padim_nb",
        ROOT / "benchmarks",
        ROOT / "padim_nb" / "twin",
        ROOT / "padim_nb" / "twin" / "parts",
    )
    lost = [path for path in paths if path not in own and not any((place / path).exists() for place in places)]
    assert lost == []


def test_jupyter_book_is_the_one_that_knows_config_yml():
    assert "jupyter-book==1.0.4.post1" in requirements()
