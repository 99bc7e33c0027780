"""What a careful person asks before running this: nothing is executed on reading, nothing calls home."""

import ast
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from padim_nb.errors import PadimError, WeightsError
from padim_nb.features.weights import read_state

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("padim_nb", "book", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXECUTES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
HARMLESS = "from joblib import cpu_count"  # its load and dump are pickle's


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_reads_anything_that_could_execute(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and ast.unparse(node) != HARMLESS:
            names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
            assert not {name.split(".")[0] for name in names} & EXECUTES
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert called not in ("eval", "exec", "os.system", "os.popen", "yaml.load", "np.save") or (
            given.get("allow_pickle") == "False"
        ), called
        assert called != "torch.load" or given.get("weights_only") == "True"
        assert called != "torch.save", "weights are saved as safetensors"
        assert given.get("allow_pickle") != "True"
        assert given.get("shell") != "True"


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["pickle", "torch", "old torch", "in a dict"])
def test_weights_that_would_execute_something_are_refused_and_do_not(how, tmp_path):
    path, done = tmp_path / "w.pth", tmp_path / "done"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Evil(done)))
    else:
        evil = {"conv1.weight": Evil(done)} if how == "in a dict" else Evil(done)
        torch.save(evil, path, _use_new_zipfile_serialization=how != "old torch")
    with pytest.raises(WeightsError):
        read_state(path)
    assert not done.exists()


ASKED = """
from pathlib import Path
from padim_nb.cli import main
assert main(["weights", "list"]) == 0
assert not Path({log!r}).exists()
assert main(["weights", "get", "resnet18"]) == 2
"""


def test_weights_are_only_fetched_when_asked_for_and_the_guard_would_see_it(offline):
    environment, log = offline
    command = [sys.executable, "-c", ASKED.format(log=str(log))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "could not download" in done.stderr
    assert "pytorch.org" in log.read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_notebook_loads_anything_from_elsewhere_or_knows_its_author(path):
    text = path.read_text()
    assert len(text) < 2_500_000
    notebook = json.loads(text)
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info", "papermill"}
    loads = r"""<(?:script|img|iframe|link)[^>]+(?:src|href)=\\?["'](?:https?:)?//"""
    assert not re.search(loads, text)
    assert not re.search(r"/(?:home|Users|root|tmp|work)/\w", text), "a path of a machine"


def test_every_promised_error_is_a_padim_error():
    from padim_nb import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert all(issubclass(kind, PadimError) for kind in kinds)
    assert len(kinds) >= 6
