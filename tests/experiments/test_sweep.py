"""Sweeps: what is there is not done again, what fails is kept and told, a killed one goes on; a fit in shares."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from distributed import Client, LocalCluster
from filelock import FileLock
from making import a_notebook, write_image, write_parts

from padim_nb import load_category, recipe
from padim_nb.cli import main
from padim_nb.errors import DataError, ModelError, OptionError, PadimError, RunFailed
from padim_nb.experiments.recipes import settings_of
from padim_nb.experiments.record import files_below, fingerprint, plain, read_record
from padim_nb.experiments.run import execute
from padim_nb.experiments.sweep import complete, plan, run_one, seeds_in, sweep
from padim_nb.padim.distributed import fit_sharded

QUICK = "padim-gabor"


def quick_plan(parts, out, seeds=(0, 1), categories=("widget",)):
    return plan([QUICK], categories, list(seeds), out, data=str(parts), device="cpu")


def figures(out):
    """Metrics of all records below a folder."""
    return {path.parent.name: json.loads(path.read_text())["metrics"] for path in files_below(out, "record.json")}


def test_seeds_are_read_as_written():
    assert seeds_in("0-2") == [0, 1, 2]
    assert seeds_in("3, 7,9-10") == [3, 7, 9, 10]
    assert seeds_in("own") == [-1]
    for text in ("", "a", "3-1", "1-", "-1"):
        with pytest.raises(OptionError, match="--seeds takes numbers"):
            seeds_in(text)


def test_a_plan_names_each_run_once(tmp_path):
    runs = plan(["padim-gabor", "padim-gabor"], ["cable", "pill"], [0, 1, 1], tmp_path)
    assert [(r.category, r.seed) for r in runs] == [("cable", 0), ("cable", 1), ("pill", 0), ("pill", 1)]
    assert runs[0].folder == tmp_path / "cable" / "padim-gabor-seed0"
    with pytest.raises(OptionError, match="did you mean 'padim-gabor'"):
        plan(["padim-gabr"], ["cable"], [0], tmp_path)
    with pytest.raises(OptionError, match="at least one"):
        plan([], ["cable"], [0], tmp_path)


@pytest.fixture(scope="module")
def client():
    quiet = {"dashboard_address": ":0", "silence_logs": "CRITICAL"}
    with LocalCluster(n_workers=2, threads_per_worker=1, **quiet) as cluster, Client(cluster) as client:
        yield client


def test_a_sweep_does_what_is_missing_and_goes_on_after_a_failure(parts, tmp_path, client):
    out, told, address = tmp_path / "out", [], client.scheduler.address
    shutil.copytree(parts / "widget", parts / "broken")
    bad = parts / "broken" / "test" / "spot" / "000.png"
    bad.write_bytes(bad.read_bytes()[:300])  # its head is whole: found only when it is read
    runs = quick_plan(parts, out, categories=("broken", "widget", "absent"), seeds=(0,))
    outcomes = {each.settings.category: each for each in sweep(runs, out, 2, log=told.append)}
    assert {name: each.state for name, each in outcomes.items()} == {
        "widget": "done", "broken": "failed", "absent": "failed",
    }  # fmt: skip
    assert "000.png" in outcomes["broken"].error
    assert "no category 'absent'" in outcomes["absent"].error
    assert (runs[0].folder / "error.txt").read_text().strip() == outcomes["broken"].error
    assert (runs[0].folder / "failed.ipynb").is_file()
    before = (runs[1].folder / "record.json").stat().st_mtime_ns
    shutil.copy(parts / "widget" / "test" / "spot" / "000.png", parts / "broken" / "test" / "spot" / "000.png")
    again = {each.settings.category: each for each in sweep(runs[:2], out, scheduler=address, log=told.append)}
    assert (again["widget"].state, again["broken"].state) == ("was there", "done")
    assert complete(again["broken"].settings).metrics == again["broken"].metrics
    assert any(line.startswith(f"2 workers at {address}") for line in told), "a cluster that runs already"
    assert len(client.nthreads()) == 2, "it was lent: it still runs"
    assert not any((runs[0].folder / name).exists() for name in ("error.txt", "failed.ipynb"))
    assert (runs[1].folder / "record.json").stat().st_mtime_ns == before
    assert any("1 of 2 runs were there" in line for line in told)


def done_before(parts, out, **asked):
    """(settings of a run, its record's path): as a run of the recipe's own settings leaves it, and as `asked`."""
    settings = replace(quick_plan(parts, out, seeds=(0,))[0], **asked)
    detector = settings_of(**settings.chosen)
    record = {"recipe": settings.recipe, "category": "widget", "seed": 0, "metrics": {"image_auroc": 1.0}}
    record |= {"n_train": 12, "n_test": 9, "settings": plain(detector), "device": "cpu"}
    record |= {"data": {"name": "folder", "fingerprint": fingerprint(load_category("widget", parts))}}
    settings.folder.mkdir(parents=True)
    path = settings.folder / "record.json"
    path.write_text(json.dumps(record))
    return settings, path


def test_a_half_record_is_no_record(parts, tmp_path):
    assert complete(quick_plan(parts, tmp_path, seeds=(0,))[0]) is None
    settings, path = done_before(parts, tmp_path)
    assert complete(settings).metrics == {"image_auroc": 1.0}
    whole = json.loads(path.read_text())
    wrong = ({"metrics": {}}, {"metrics": [1]}, {"metrics": {"image_auroc": "x"}}, {"n_test": None}, {"recipe": "x"})
    for text in ("", "{", "[1]", *(json.dumps(whole | values) for values in wrong)):
        path.write_text(text)
        assert complete(settings) is None


@pytest.mark.parametrize(
    "asked",
    [
        {"seed": 1},
        {"device": "cuda"},
        {"recipe": "padim-lite0"},
        {"recipe": "least-squares-student"},
        {"size": "64"},
        {"data": "twin"},
        {"category": "absent"},
    ],
    ids=str,
)
def test_a_record_of_another_request_is_not_taken_for_done(parts, tmp_path, asked):
    settings, _ = done_before(parts, tmp_path)
    assert complete(settings) is not None
    assert complete(replace(settings, device="auto")) is not None
    assert complete(replace(settings, **asked)) is None


@pytest.mark.parametrize("asked", [{"steps": 2}, {"penalty": "none"}, {"weights": "{file}"}], ids=str)
def test_a_record_of_other_training_settings_is_not_taken_for_done(parts, tmp_path, asked):
    file = tmp_path / "teacher.pth"
    file.write_bytes(b"one")
    asked = {key: str(file) if value == "{file}" else value for key, value in asked.items()}
    settings, _ = done_before(parts, tmp_path / "out", recipe="efficientad-lite", **asked)
    assert complete(settings) is not None
    assert complete(replace(settings, steps=0, penalty="", weights="")) is None
    file.write_bytes(b"two")
    assert (complete(settings) is None) == ("weights" in asked), "a file counts by its contents"


def test_a_record_of_other_images_is_not_taken_for_done(parts, tmp_path):
    settings, _ = done_before(parts, tmp_path)
    image = parts / "widget" / "test" / "spot" / "000.png"
    whole = image.read_bytes()
    image.write_bytes(whole + b" ")
    assert complete(settings) is None
    image.write_bytes(whole)
    assert complete(settings) is not None
    image.rename(image.with_name("900.png"))
    (parts / "widget" / "ground_truth" / "spot" / "000_mask.png").rename(
        parts / "widget" / "ground_truth" / "spot" / "900_mask.png"
    )
    assert complete(settings) is None


def test_a_record_without_settings_or_fingerprint_is_not_taken_for_done(parts, tmp_path):
    settings, path = done_before(parts, tmp_path)
    whole = json.loads(path.read_text())
    for older in ({"settings": None}, {"data": {"name": "folder"}}):
        path.write_text(json.dumps(whole | older))
        assert read_record(path) is not None
        assert complete(settings) is None


def test_a_sweep_of_other_images_or_settings_is_refused_before_its_first_run(
    parts, tmp_path, no_detector, capsys, monkeypatch
):
    runs = quick_plan(parts, tmp_path / "out")
    assert [run_one(settings).state for settings in runs] == ["done"] * 2
    before = {settings: (settings.folder / "record.json").read_bytes() for settings in runs}
    other = write_parts(tmp_path / "other" / "widget")
    write_image(other / "widget" / "test" / "good" / "000.png", (64, 64), seed=5)
    done = []

    def each(client, workers, todo, cores, force):
        done.extend(todo)
        return iter(run_one(settings, 1, cores, force) for settings in todo)

    monkeypatch.setattr("padim_nb.experiments.sweep._client", lambda *_: nullcontext((None, 1)))
    monkeypatch.setattr("padim_nb.experiments.sweep._results", each)
    words = ["sweep", "--recipes", QUICK, "--categories", "widget", "--seeds", "0-2", "--device", "cpu"]
    words += ["--out", str(tmp_path / "out"), "--data"]
    assert main([*words, str(other)]) == 2
    line = capsys.readouterr().err
    assert "padim-gabor-seed0 holds a finished run with other images (and 1 more)" in line and line.count("\n") == 1
    assert not done and before == {settings: (settings.folder / "record.json").read_bytes() for settings in before}
    assert main([*words, str(parts)]) == 0 and len(done) == 1, "the third was missing"
    assert main([*words, str(other), "--force"]) == 0 and len(done) == 4
    assert all((settings.folder / "record.json").read_bytes() != record for settings, record in before.items())


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_a_sweep_of_several_categories_over_a_single_ones_images_is_refused(kind, parts, tmp_path, capsys):
    root = parts / "widget"
    if kind == "table":
        root = tmp_path / "widget.csv"
        rows = [f"root/widget/train/good/00{n}.png,train,good" for n in range(3)]
        root.write_text("\n".join(["image,split,label", *rows]))
    for names in ([], ["--categories", "cable", "widget"]):
        words = ["sweep", "--recipes", QUICK, *names, "--data", str(root), "--out", str(tmp_path / "out")]
        assert main(words) == 2
        assert f"{root} holds one category, not {len(names) - 1 if names else 15}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_two_sweeps_into_one_folder_are_refused(parts, tmp_path):
    runs = quick_plan(parts, tmp_path / "out")
    (tmp_path / "out").mkdir()
    lock = FileLock(tmp_path / "out" / ".sweep.lock")
    with lock.acquire(), pytest.raises(PadimError, match="another sweep is writing"):
        sweep(runs, tmp_path / "out", log=lambda _: None)


def test_no_scheduler_and_no_place_to_write_are_told_in_one_line(parts, tmp_path, unwritable, monkeypatch):
    monkeypatch.setattr("padim_nb.experiments.sweep.WAIT", 1.0)
    with pytest.raises(PadimError, match="no Dask scheduler answers at tcp:"):
        sweep(quick_plan(parts, tmp_path / "out"), tmp_path / "out", scheduler="tcp://127.0.0.1:9", log=str)
    with pytest.raises(PadimError, match="cannot write"):
        sweep(quick_plan(parts, unwritable / "out"), unwritable / "out", log=str)


def test_a_scheduler_that_goes_away_is_one_line(parts, tmp_path, monkeypatch):
    class Gone:
        """A client, and its future, whose scheduler went away."""

        status = "cancelled"

        def submit(self, *_, **__):
            return self

    monkeypatch.setattr("padim_nb.experiments.sweep._client", lambda *_: nullcontext((Gone(), 1)))
    monkeypatch.setattr("distributed.as_completed", iter)
    runs = quick_plan(parts, tmp_path / "out", seeds=(0,))
    with pytest.raises(PadimError, match="the scheduler went away: what is done is kept"):
        sweep(runs, tmp_path / "out", 1, log=str)


def test_a_run_has_its_share_of_the_cores(parts, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(
        "padim_nb.experiments.sweep.execute", lambda settings, force, variables: given.append(variables)
    )
    monkeypatch.setattr("padim_nb.experiments.workers.cores", lambda: 12)
    for options in ({}, {"cores": 1}):
        assert run_one(quick_plan(parts, tmp_path)[0], workers=4, **options).state == "failed"  # no run, no record
    assert [set(variables.values()) for variables in given] == [{"3"}, {"1"}]
    assert given[0].keys() == {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"}


def test_a_runs_process_keeps_its_memory_whatever_dask_set_for_its_workers(parts, tmp_path, monkeypatch):
    names = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "OMP_NUM_THREADS", "SET_BEFORE")
    monkeypatch.delenv("MALLOC_MMAP_MAX_", raising=False)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    monkeypatch.setenv("SET_BEFORE", "yes")
    before = dict(os.environ)
    code = f"import os\nraise ValueError([os.environ.get(name) for name in {names!r}])"
    monkeypatch.setattr("padim_nb.experiments.run.template", lambda: a_notebook(tmp_path / "prints.ipynb", code))
    with pytest.raises(RunFailed, match=re.escape(f"ValueError: ['0', '{1 << 40}', '7', 'yes']")):
        execute(quick_plan(parts, tmp_path)[0], environment={"OMP_NUM_THREADS": "7"})
    assert dict(os.environ) == before, "the process that starts it keeps its own"


def test_a_full_disk_fails_the_run_and_not_the_sweep(parts, tiny_disk, no_kernel):
    outcome = run_one(quick_plan(parts, tiny_disk)[0])
    assert outcome.state == "failed"
    assert "disk is full" in outcome.error or "No space left" in outcome.error
    assert complete(outcome.settings) is None


def test_the_command_says_by_its_exit_code_that_a_run_failed(parts, tmp_path, capsys):
    arguments = ["sweep", "--recipes", QUICK, "--categories", "absent", "--data", str(parts), "--out", str(tmp_path)]
    assert main(arguments) == 1
    assert "0 of 1 runs are done, 1 failed" in capsys.readouterr().out
    assert main(["sweep", "--recipes", "padim-x", "--out", str(tmp_path)]) == 2
    assert "no recipe 'padim-x'" in capsys.readouterr().err


def children(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(each) for each in found.stdout.split()]


def family(pid):
    return [pid, *(member for child in children(pid) for member in family(child))]


@pytest.mark.torture
def test_kill_9_of_command_or_worker_and_rerun_ends_with_every_record(parts, tmp_path, kills, rng):
    killed = 0
    straight = tmp_path / "straight"
    sweep(quick_plan(parts, straight), straight, 1, log=str)  # as many threads as below: the last digits depend on it
    wanted, turn = figures(straight), 0
    while killed < kills:
        out = tmp_path / f"out{turn}"
        command = [sys.executable, "-m", "padim_nb.cli", "sweep", "--recipes", QUICK, "--categories", "widget"]
        command += ["--seeds", "0-1", "--data", str(parts), "--device", "cpu", "--out", str(out), "--workers", "1"]
        done = {}
        for _ in range(min(6, kills - killed)):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                process.wait(rng.uniform(3, 12))
                break
            except subprocess.TimeoutExpired:
                members = family(process.pid)
                os.kill(members[int(rng.integers(len(members)))] if killed % 2 else process.pid, signal.SIGKILL)
                killed += 1
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()
            now = {path: path.stat().st_mtime_ns for path in files_below(out, "record.json")}
            assert all(now[path] == stamp for path, stamp in done.items()), "a finished run was done again"
            done = now
        subprocess.run(command, check=True, capture_output=True)
        assert figures(out) == wanted
        turn += 1


@pytest.mark.parametrize(("name", "shards"), [("padim-gabor", 1), ("padim-lite0", 2), ("padim-gabor", 5)])
def test_a_fit_in_shares_is_the_single_fit(name, shards, parts, client):
    widget = load_category("widget", parts)
    weights = None if name == "padim-gabor" else "random"
    single = recipe(name, weights, device="cpu").fit(widget.train).score(widget.test).maps
    shared = fit_sharded(recipe(name, weights, device="cpu"), widget.train, client, shards, "cpu")
    assert shared.count == len(widget.train)
    assert np.abs(shared.score(widget.test).maps - single).max() < 1e-6 * single.max()


def test_a_fit_in_shares_refuses_what_it_cannot_do(parts, client):
    widget = load_category("widget", parts)
    with pytest.raises(ModelError, match="nothing to fit"):
        fit_sharded(recipe("padim-gabor"), [], client)
    with pytest.raises(OptionError, match="only PaDiM"):
        fit_sharded(object(), widget.train, client)
    widget.train[5].image.unlink()
    with pytest.raises(DataError):
        fit_sharded(recipe("padim-gabor", device="cpu"), widget.train, client, 3, "cpu")
