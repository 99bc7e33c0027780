"""What the base package can do without its extras, and the one line that names a missing one."""

import subprocess
import sys

import pytest

import padim_nb.deploy
from padim_nb.cli import EXTRAS, main

MODULES = sorted({module for modules in EXTRAS.values() for module in modules} | {"skimage", "ipykernel", "jupyterlab"})
BLOCKED = """
import sys
sys.modules |= dict.fromkeys(sys.argv[1].split(","))  # as if they were not installed
from padim_nb import load_category, recipe
from padim_nb.cli import main
root, model = sys.argv[2:]
detector = recipe("padim-gabor", device="cpu").fit(load_category("widget", root).train, false_alarm=0.1)
detector.save(model)
sys.exit(main(["score", model, f"{root}/widget/test/spot/000.png"]))
"""


def test_fitting_and_scoring_need_no_extra(parts, tmp_path):
    command = [sys.executable, "-c", BLOCKED, ",".join(MODULES), str(parts), str(tmp_path / "model.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "000.png" in done.stdout


@pytest.mark.parametrize(
    ("module", "extra", "arguments"),
    [
        ("papermill", "run", ["run", "widget", "--data", "{root}", "--out", "{out}"]),
        ("distributed", "run", ["sweep", "--recipes", "padim-gabor", "--categories", "widget", "--data", "{root}"]),
        ("onnx", "onnx", ["export", "{model}", "{out}/model.onnx"]),
    ],
)
def test_a_missing_extra_is_one_line_that_names_it(module, extra, arguments, parts, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(padim_nb, "deploy", padim_nb.deploy)  # put back afterwards, as what follows replaces it
    for name in [name for name in sys.modules if name.startswith("padim_nb.deploy")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    model = tmp_path / "model.safetensors"
    if module == "onnx":
        from padim_nb import load_category, recipe

        recipe("padim-gabor", device="cpu").fit(load_category("widget", parts).train).save(model)
    assert main([word.format(root=parts, out=tmp_path, model=model) for word in arguments]) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1] == f"padim-nb: {module} is not installed: pip install 'padim-nb[{extra}]'"
