"""What a person types: exit codes, one line of error, no traceback; and the notebook behind `run`."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from making import a_notebook

from padim_nb import evaluate, load_category
from padim_nb.cli import main
from padim_nb.data.images import Frame
from padim_nb.errors import PadimError
from padim_nb.experiments import run as runs
from padim_nb.experiments.record import read_record
from padim_nb.experiments.settings import RunSettings, settings_from
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.settings import PaDiMSettings, Selection

ROOT = Path(__file__).parents[1]


def test_check_exits_with_1_when_something_is_broken(parts, capsys):
    assert main(["data", "check", str(parts)]) == 0
    (parts / "widget" / "train" / "good" / "000.png").write_text("hello")
    assert main(["data", "check", str(parts)]) == 1
    assert "1 problem found" in capsys.readouterr().out


def test_lists_print(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments in ("recipes", "weights list", "data status"):
        assert main(arguments.split()) == 0
    out = capsys.readouterr().out
    for words in ("padim-wr50-rd550", "wide_resnet50_2", "in use: the twin", "CC BY-NC-SA 4.0"):
        assert words in out


def test_what_computes_nothing_does_not_wait_for_torch(tmp_path):
    code = """
import sys
from padim_nb.cli import main
for line in sys.argv[1:]:
    main(line.split())
    assert "torch" not in sys.modules, line
"""
    lines = ("data status", "recipes", "compare {0}", "run absent --out {0}",
             "sweep --recipes padim-gabor --categories absent --out {0}")  # fmt: skip
    subprocess.run([sys.executable, "-c", code, *(line.format(tmp_path) for line in lines)], check=True)


def test_settings_come_from_a_notebooks_names():
    names = {"category": "cable", "seed": 3, "In": [], "_": 1, "get_ipython": print, "re": re}
    assert settings_from(names) == RunSettings("cable", seed=3)


def test_a_run_leaves_notebook_page_maps_model_and_record_and_asks_no_network(parts, tmp_path, capsys, offline):
    out, (environment, attempts) = tmp_path / "out", offline
    command = [sys.executable, "-m", "padim_nb.cli", "run", "widget", "--data", str(parts), "--out", str(out)]
    done = subprocess.run([*command, "--device", "cpu"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not attempts.exists(), attempts.read_text()
    assert "image_auroc" in done.stdout
    assert {p.name for p in out.iterdir() if p.name != ".run.lock"} == {
        "run_category.ipynb", "run_category.html", "record.json", "maps.safetensors", "model.safetensors",
    }  # fmt: skip
    record = json.loads((out / "record.json").read_text())
    assert set(record) >= {
        *("recipe", "category", "seed", "data", "weights", "metrics", "per_defect", "seconds", "peak_memory_mb"),
        *("n_train", "n_test", "device", "versions", "commit", "threshold"),
    }
    assert set(record["metrics"]) >= {
        *("image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_ap", "pixel_f1max", "aupro", "aupro_05"),
    }
    assert record["data"]["counts"] == {"train": 12, "good": 4, "line": 2, "spot": 3}
    assert set(record["seconds"]) == {"fit", "score", "evaluate"}
    page = (out / "run_category.html").read_text()
    assert not re.search(r"<script[^>]+src=[\"'](https?:)?//", page)
    assert main(["score", str(out / "model.safetensors"), str(parts / "widget" / "test" / "spot")]) == 0
    assert capsys.readouterr().out.count("defective") == 3


@pytest.mark.parametrize(
    ("removed", "note"),
    [
        (["test", "ground_truth"], "no test images, so no metrics: put good ones into test/good"),
        (["test/spot", "test/line", "ground_truth"], "all are good"),
        (["test/good"], "all are defective"),
    ],
    ids=["train only", "good only", "defective only"],
)
def test_an_own_folder_without_defects_or_tests_is_run_and_told_what_is_missing(
    parts, tmp_path, capsys, no_kernel, removed, note
):
    for name in removed:
        shutil.rmtree(parts / "widget" / name)
    out = tmp_path / "out"
    arguments = ["--data", str(parts / "widget"), "--out", str(out), "--device", "cpu"]
    assert main(["run", "widget", *arguments]) == 0
    assert note in capsys.readouterr().out
    record = json.loads((out / "record.json").read_text())
    assert note in " ".join(record["notes"]) and record["threshold"]["images"] == 12
    image = parts / "widget" / "train" / "good" / "000.png"
    assert main(["score", str(out / "model.safetensors"), str(image)]) == 0
    assert "good" in capsys.readouterr().out


def test_a_crop_that_leaves_defects_outside_is_said_where_the_metrics_are(parts, tmp_path, capsys, monkeypatch):
    widget, frame = load_category("widget", parts), Frame(64, 32)
    detector = PaDiM.from_settings(PaDiMSettings("gabor", frame, Selection("random", 20, 0)), "cpu")
    report = evaluate(detector.fit(widget.train, 0.1).score(widget.test), widget.test)
    watch = runs.Stopwatch({"fit": 1.0})
    record = runs.write_record(RunSettings("widget", out=str(tmp_path)), widget, detector, report, watch)
    for text in (str(report), str(read_record(record))):
        assert re.search(r"note: the crop leaves \d+\.\d% of the marked pixels outside the frame", text)


def test_an_error_of_the_packages_base_class_in_the_notebook_is_one_line(parts, tmp_path, capsys, monkeypatch):
    code = "from padim_nb.errors import PadimError\nraise PadimError('the one line')"
    monkeypatch.setattr(runs, "template", lambda: a_notebook(tmp_path / "failing.ipynb", code))
    assert main(["run", "widget", "--data", str(parts), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "padim-nb: the one line"


def test_papermill_with_a_misspelled_parameter_fails_and_says_why(tmp_path):
    import papermill

    done = tmp_path / "x.ipynb"
    with pytest.raises(papermill.exceptions.PapermillExecutionError, match="did you mean 'category'"):
        papermill.execute_notebook(
            ROOT / "notebooks" / "run_category.ipynb", done, {"categry": "cable"}, progress_bar=False
        )
    assert nbformat.read(done, 4).metadata.papermill.exception is True


def test_a_cell_that_fails_becomes_one_line(parts, tmp_path, capsys, no_kernel):
    (parts / "widget" / "test" / "spot" / "000.png").write_text("hello")
    (parts / "widget" / "ground_truth" / "spot" / "000_mask.png").unlink()
    (parts / "widget" / "ground_truth").rename(parts / "elsewhere")
    assert main(["run", "widget", "--data", str(parts), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    assert "000.png is not a readable image" in capsys.readouterr().err
    assert not (tmp_path / "out" / "record.json").exists()
    assert (tmp_path / "out" / "failed.ipynb").exists()


def test_an_output_folder_that_cannot_be_written(parts, unwritable, capsys):
    assert main(["run", "widget", "--data", str(parts), "--out", str(unwritable / "out")]) == 2
    assert "choose another folder" in capsys.readouterr().err


def test_the_template_is_found_and_a_lost_one_is_told(monkeypatch, tmp_path):
    assert runs.template().name == "run_category.ipynb"
    monkeypatch.setattr(runs, "__file__", str(tmp_path / "padim_nb" / "runs.py"))
    with pytest.raises(PadimError, match="install padim-nb again"):
        runs.template()
