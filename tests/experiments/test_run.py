"""A run's folder: a finished run stays until the next is whole, and nobody else's files take its place."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from filelock import FileLock
from making import a_notebook, write_image, write_parts

from padim_nb.cli import main
from padim_nb.errors import OptionError
from padim_nb.experiments import run as runs
from padim_nb.experiments.run import execute
from padim_nb.experiments.settings import RunSettings, settings_from

FILES = {"run_category.html", "record.json", "model.safetensors", "maps.safetensors"}  # of a run without a detector


def command(parts, out, *more):
    return ["run", "widget", "--recipe", "padim-gabor", "--data", str(parts), "--out", str(out), *more]


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith(".")}


@pytest.fixture
def out(parts, tmp_path, no_detector, capsys):
    """A folder with a finished run."""
    assert main(command(parts, tmp_path / "out")) == 0
    assert contents(tmp_path / "out").keys() == FILES
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--recipe", "padim-lite0"], "recipe padim-gabor, not padim-lite0"),
        (["--weights", "typo.pth"], "weights '', not 'typo.pth'"),
        (["--seed", "7"], "seed 0, not 7"),
        (["--size", "64"], "frame.resize [256, 256], not [64, 64]"),
        (["--device", "cuda"], "device 'cpu', not 'cuda'"),
        (["--data", "{other}"], "other images"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_finished_run_of_other_settings_or_images_is_not_replaced(more, words, parts, out, tmp_path, capsys):
    other = write_parts(tmp_path / "other" / "widget")
    write_image(other / "widget" / "test" / "good" / "000.png", (64, 64), seed=5)
    before = contents(out)
    more = [word.format(other=other) for word in more]
    assert main(command(parts, out, *more)) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and words in line and str(out) in line and "--force" in line
    assert contents(out) == before
    assert main(command(parts, out, *more, "--force")) == 0
    assert contents(out).keys() == FILES and contents(out) != before


def test_the_same_run_again_replaces_its_files(parts, out):
    (out / "model.safetensors").write_text("x")
    assert main(command(parts, out)) == 0
    assert contents(out)["model.safetensors"] == contents(out)["record.json"]


def test_files_that_a_run_did_not_write_stay(parts, out):
    (out / "notes.txt").write_text("mine")
    (out / "deep" / "er").mkdir(parents=True)
    assert main(command(parts, out, "--seed", "1", "--force")) == 0
    assert (out / "notes.txt").read_text() == "mine" and (out / "deep" / "er").is_dir()


def test_a_file_of_that_name_which_is_no_record_is_not_replaced(parts, tmp_path, no_detector, capsys):
    (tmp_path / "record.json").write_text('{"artist": "someone"}')
    assert main(command(parts, tmp_path)) == 2
    assert "not a run's" in capsys.readouterr().err
    assert (tmp_path / "record.json").read_text() == '{"artist": "someone"}'
    (tmp_path / "record.json").write_text("{")  # half a record: nothing finished
    assert main(command(parts, tmp_path)) == 0


def test_two_runs_into_one_folder_are_refused(parts, out, capsys):
    before = contents(out)
    with FileLock(out / ".run.lock").acquire():
        assert main(command(parts, out)) == 2
    assert f"another run is writing to {out}" in capsys.readouterr().err
    assert contents(out) == before


KILLED = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
FAILS = "raise ValueError('not the user’s')"


@pytest.mark.parametrize(("code", "words"), [(KILLED, "process was killed"), (FAILS, "ValueError: not the user’s")])
def test_a_run_that_fails_is_one_line_and_leaves_the_finished_one(
    code, words, parts, out, tmp_path, capsys, monkeypatch
):
    before = contents(out)
    monkeypatch.undo()  # a kernel of its own
    monkeypatch.setattr(runs, "template", lambda: a_notebook(tmp_path / "other.ipynb", code))
    assert main(command(parts, out)) == 1, "a run failed, its input was not bad"
    error = capsys.readouterr().err
    line = error.splitlines()[-1]
    assert line.startswith("padim-nb: widget x padim-gabor: ") and words in line and "Traceback" not in error
    after = contents(out)
    assert code in nbformat.reads(after.pop("failed.ipynb").decode(), 4).cells[-1].source
    assert after == before and not list(out.glob(".partial*"))


def test_an_interrupted_run_leaves_the_finished_one_and_nothing_half(parts, out, tmp_path):
    before = contents(out)
    a_notebook(tmp_path / "long.ipynb", f"import time\nopen({str(tmp_path / 'begun')!r}, 'w')\ntime.sleep(600)")
    code = f"""
import signal
import sys
from pathlib import Path
from padim_nb.cli import main
from padim_nb.experiments import run
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with SIGINT ignored
run.template = lambda: Path({str(tmp_path / "long.ipynb")!r})
sys.exit(main({command(parts, out)!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr.read().splitlines()[-1] == "padim-nb: interrupted; finished results are unchanged"
    assert contents(out) == before and not list(out.glob(".partial*"))


def test_a_stopped_training_finds_its_checkpoint_and_no_other_run_removes_it(parts, out, monkeypatch):
    class Stopped(BaseException):
        """As by Ctrl-C."""

    def training(source, target, parameters, **_):
        checkpoint = RunSettings(**parameters).checkpoint
        found.append(checkpoint.is_file())
        checkpoint.write_text(str(parameters["steps"]))
        (checkpoint.parent / "model.safetensors").write_text("half")
        raise Stopped

    found, before = [], contents(out)
    longer = [command(parts, out, "--recipe", "least-squares-student", "--force", "--steps", n) for n in ("5", "6")]
    with monkeypatch.context() as patched:
        patched.setattr("papermill.execute_notebook", training)
        for words in (longer[0], longer[0], longer[1], longer[0], longer[1]):
            with pytest.raises(Stopped):
                main(words)
    assert found == [False, True, False, True, True]
    assert main(command(parts, out)) == 0
    assert contents(out) == before
    assert sorted(path.read_text() for path in out.glob(".partial-*/*")) == ["5", "6"]


def test_a_run_that_is_killed_while_its_files_are_moved_is_moved_by_the_next(parts, out):
    first = contents(out)
    assert main(command(parts, out, "--seed", "1", "--force")) == 0
    second = contents(out)
    (out / ".whole").mkdir()
    for name in ("maps.safetensors", "record.json"):  # of the first, which was to replace the second
        (out / ".whole" / name).write_bytes(first[name])
    (out / "model.safetensors").write_bytes(first["model.safetensors"])
    (out / "run_category.html").write_bytes(first["run_category.html"])
    assert main(command(parts, out, "--seed", "1")) == 2, "the first is there"
    assert contents(out) == first != second
    assert not (out / ".whole").exists()


def test_a_notebook_by_itself_does_not_replace_another_finished_run_either(parts, out):
    same = {"category": "widget", "recipe": "padim-gabor", "data": str(parts), "out": str(out)}
    assert settings_from(same).folder == out
    with pytest.raises(OptionError, match=r"holds a finished run with .*seed 0, not 3"):
        settings_from(same | {"seed": 3})


def test_the_notebook_reads_the_data_that_the_command_found(parts, tmp_path, monkeypatch):
    """Its process works in another folder, where the usual data root is not found and the twin would be taken."""
    given = []
    root = tmp_path / "project" / "data" / "mvtec_anomaly_detection"
    root.parent.mkdir(parents=True)
    shutil.move(parts, root)
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, parameters, **__: given.append(parameters["data"]))
    for environment in ("", "data/mvtec_anomaly_detection"):
        monkeypatch.setenv("PADIM_NB_DATA", environment)
        with pytest.raises(FileNotFoundError):  # no notebook was written
            execute(RunSettings("widget", "padim-gabor", out=str(tmp_path / "out")))
    assert given == [str(root)] * 2


def test_a_home_folder_that_no_shell_replaced(parts, tmp_path, no_detector, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert main(command(parts, "~/one")) == 0
    sweep = ["sweep", "--recipes", "padim-gabor", "--categories", "absent", "--data", str(parts), "--out=~/many"]
    assert main(sweep) == 1
    assert (tmp_path / "home" / "one" / "record.json").is_file() and (tmp_path / "home" / "many").is_dir()
    assert main(["compare", "~/one", "--recipes", "padim-gabor"]) == 0
    assert not (tmp_path / "~").exists()


def test_paths_are_shown_short_where_that_helps_and_across_drives(parts, tmp_path, no_detector, capsys, monkeypatch):
    def relpath(*_):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr("os.path.relpath", relpath)
    monkeypatch.setattr("padim_nb.experiments.settings.fingerprint", lambda category: "x")
    monkeypatch.setattr("padim_nb.experiments.record.fingerprint", lambda category: "x")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    for out, shown in (("here", "here/record.json"), (tmp_path / "there", f"{tmp_path}/there/record.json")):
        assert main(command(parts, out)) == 0
        assert f"record    {shown}\n" in capsys.readouterr().out.replace("\\", "/")


def test_a_page_says_utf_8_and_is_so_whatever_the_machines_encoding(tmp_path):
    a_notebook(tmp_path / "x.ipynb", "'≥'")
    code = "import pathlib, sys; from padim_nb.experiments.run import *; write_html(pathlib.Path(sys.argv[1]))"
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    subprocess.run([sys.executable, "-c", code, tmp_path / "x.ipynb"], env=os.environ | plain, check=True)
    text = (tmp_path / "x.html").read_bytes().decode("utf-8")
    assert "≥" in text and re.search(r'<meta charset="utf-8"', text, re.IGNORECASE)
