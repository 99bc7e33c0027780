"""`make gpu`: the order of its runs, its budget, a run that is cut and resumed, and one line without a GPU."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from small_training import NARROW, teacher_in

from padim_nb.efficientad import pdn
from padim_nb.efficientad.checkpoints import Loop
from padim_nb.experiments.sweep import complete

spec = importlib.util.spec_from_file_location(
    "train_gpu", Path(__file__).parents[2] / "benchmarks" / "train_gpu.py"
)  # fmt: skip
train_gpu = sys.modules["train_gpu"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(train_gpu)


def test_without_a_gpu_it_is_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(train_gpu, "gpus", lambda: 0)
    assert train_gpu.main(["--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("no GPU here") and not (tmp_path / "out").exists()


def test_the_runs_are_the_full_training_then_the_short_one_with_three_seeds(tmp_path):
    runs = train_gpu.wanted(tmp_path, "shipped", "", "cuda")
    assert len(runs) == 15 + 45 and len({run.folder for run in runs}) == 60
    assert [run.recipe for run in runs] == ["efficientad-s"] * 15 + ["efficientad-lite"] * 45
    assert all(run.steps == 0 for run in runs), "the recipe's own 70,000 and 1,000"


def test_no_run_begins_that_has_no_time_and_what_is_cut_is_left(tmp_path, monkeypatch):
    runs, now, started, done = train_gpu.wanted(tmp_path, "shipped", "", "cuda")[:3], [0.0], [], set()
    monkeypatch.setattr(train_gpu, "complete", lambda run: "a record" if run in done else None)

    def start(run, seconds):
        started.append(run)
        now[0] += min(seconds, 200.0)
        if seconds >= 200.0:
            done.add(run)
        return run in done

    assert train_gpu.spend(runs, 5, start, lambda: now[0]) == 2
    assert started == runs[:2], "the second had 100 seconds and was cut"
    assert train_gpu.spend(runs, 9, start, lambda: now[0]) == 0
    assert started == [*runs[:2], *runs[1:]], "the next call begins with it"
    assert train_gpu.spend(runs, 0.1, start, lambda: now[0]) == 0


class Cut(BaseException):
    """In place of the kill that ends a process when its minutes are over."""


@pytest.mark.filterwarnings("ignore")
def test_a_run_that_is_cut_goes_on_from_its_checkpoint_to_a_record(parts, tmp_path, monkeypatch):
    monkeypatch.setitem(pdn._LAYERS, "small", NARROW)
    run = train_gpu.wanted(tmp_path / "out", str(teacher_in(tmp_path)), str(parts), "cpu", 4, ["widget"])[0]
    run = replace(run, penalty="none")
    monkeypatch.setattr(train_gpu, "CHECKPOINT", 0.0)
    write, steps = Loop._write, []

    def written(self, path):
        write(self, path)
        steps.append(self.step)
        if self.step == 2 and len(steps) == 2:
            raise Cut

    monkeypatch.setattr(Loop, "_write", written)
    with pytest.raises(Cut):
        train_gpu.train(run)
    assert run.checkpoint.is_file() and complete(run) is None
    assert train_gpu.train(run) == run.folder / "record.json"
    assert steps == [1, 2, 3, 4], "no step twice"
    assert complete(run).facts["steps"] == 4 and not run.checkpoint.exists()
