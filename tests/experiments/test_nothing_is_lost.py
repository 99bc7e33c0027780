"""Any sequence of commands, killed anywhere: a finished run stays whole; whatever changed is seen and refused.

`--seed`, which pytest's header shows, repeats the examples.
"""

import json
import os
import shutil
import signal
import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from making import stand_in, write_image, write_parts

from padim_nb import load_category
from padim_nb.cli import main
from padim_nb.experiments.record import files_below
from padim_nb.experiments.run import execute
from padim_nb.experiments.settings import RunSettings, conflict, digest
from padim_nb.experiments.sweep import complete, run_one

# 20 each and not shrunk, as each is many processes; 200 in `make torture`
QUICK = settings().max_examples <= 50
EXAMPLES = settings(
    max_examples=20 if QUICK else 200,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
FILES = ("record.json", "model.safetensors", "maps.safetensors", "run_category.html")


@dataclass(frozen=True)
class Command:
    """Words of the command line, and the change to the disk before which it is killed (0: at none)."""

    words: tuple[str, ...]
    kill: int

    @property
    def force(self):
        return "--force" in self.words


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Two data roots of the same category with other images."""
    folder = tmp_path_factory.mktemp("roots")
    for name in "ab":
        write_parts(folder / name / "widget")
    write_image(folder / "b" / "widget" / "test" / "good" / "000.png", (64, 64))
    return folder


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Runs without a detector, sweeps without workers; what a command imports is imported here, once."""
    for name in ("papermill.execute", "jupyter_client.manager", "filelock", "distributed", "padim_nb.experiments.page"):
        import_module(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("papermill.execute_notebook", stand_in)
        patch.setattr("padim_nb.experiments.run.write_html", lambda path: path.rename(path.with_suffix(".html")))
        patch.setattr("padim_nb.experiments.sweep._client", lambda *_: nullcontext((None, 1)))
        patch.setattr("padim_nb.experiments.sweep._results", lambda _, __, todo, cores, force: (
            run_one(settings, 1, cores, force) for settings in todo))  # fmt: skip
        yield


def commands():
    """Those that write, with settings and images that change."""
    recipes, seeds = st.sampled_from(["padim-gabor", "padim-random"]), st.sampled_from(["0", "1"])
    given = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([(), ("--weights", "x.pth")]))
    given = given.map(lambda pair: ("--data", pair[0], *pair[1], "--device", "cpu"))
    force = st.sampled_from([(), (), ("--force",)])
    run = st.tuples(recipes, seeds, st.sampled_from(["runs/one", "runs/widget/padim-gabor-seed0"]), given, force)
    run = run.map(lambda t: ("run", "widget", "--recipe", t[0], "--seed", t[1], "--out", t[2], *t[3], *t[4]))
    sweep = st.tuples(recipes, st.sampled_from(["0", "0-1"]), given, force)
    sweep = sweep.map(lambda t: ("sweep", "--recipes", t[0], "--seeds", t[1], "--categories", "widget", "--out", "runs",
                                 *t[2], *t[3]))  # fmt: skip
    other = st.sampled_from([("compare", "runs"), ("page", "runs", "--data", "a")])
    words = st.one_of(run, run, sweep, sweep, other)
    return st.builds(Command, words, st.one_of(st.just(0), st.integers(1, 60)))


def called(command, place):
    """The command's exit code, in a process of its own; -9 where it was killed."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        changes = iter(range(1, 1 << 30))

        def audit(event, arguments):
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if (writes or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir")) and next(
                changes
            ) == command.kill:
                os.kill(os.getpid(), signal.SIGKILL)

        os.chdir(place)
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
        sys.addaudithook(audit)
        code = main(list(command.words))
    except BaseException:
        code = 99
    os._exit(code)


def finished(place):
    """The contents of all finished runs, by folder."""
    return {
        path.parent: {name: (path.parent / name).read_bytes() for name in FILES if (path.parent / name).is_file()}
        for path in files_below(place / "runs", "record.json")
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@EXAMPLES
@given(sequence=st.lists(commands(), min_size=1, max_size=7))
def test_no_command_destroys_a_finished_run(sequence, roots, tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    (place / "runs").mkdir()
    for name in "ab":
        (place / name).symlink_to(roots / name)
    before, moving = {}, set()  # `moving`: folders to which a whole run was being moved when it was killed
    for command in sequence:
        code = called(command, place)
        after = finished(place)
        assert code in (0, 1, 2, -9), f"{command}: {code}"
        for folder, files in before.items():
            assert folder in after, f"{command} lost {folder}"
            if not command.force and folder not in moving:
                assert after[folder] == files, f"{command} changed {folder}"
        if code == 2:
            assert set(after) <= set(before) | moving, f"{command} was refused"
            assert all(after[folder] == before[folder] for folder in set(after) - moving), f"{command} was refused"
        moving = {whole.parent for whole in place.rglob(".whole")}
        for folder, files in after.items():
            if folder not in moving:
                assert set(files) == set(FILES) and len(set(files.values())) == 1, f"{command} mixed {folder}"
        if command.words[0] == "run" and code == 0:
            record = json.loads(after[place / command.words[7]]["record.json"])
            assert (record["recipe"], str(record["seed"])) == (command.words[3], command.words[5])
        before = after
    for folder in {*before, *moving}:  # the rest is done by whoever comes next, also where that is refused
        words = ("run", "widget", "--seed", "5", "--data", "a", "--out", str(folder))
        assert called(Command(words, 0), place) == 2
    assert all(len(set(files.values())) == 1 for files in finished(place).values())
    assert not list(place.rglob(".whole"))
    shutil.rmtree(place)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_replacement_killed_before_each_of_its_changes_leaves_the_old_run_or_the_new(roots, tmp_path):
    for name in "ab":
        (tmp_path / name).symlink_to(roots / name)
    run = ("run", "widget", "--recipe", "padim-gabor", "--out", "runs/one", "--data")
    assert called(Command((*run, "a"), 0), tmp_path) == 0
    old, kill, code = finished(tmp_path), 0, -9
    while code == -9:
        kill += 1
        code = called(Command((*run, "b", "--force"), kill), tmp_path)
        assert finished(tmp_path).keys() == old.keys()
        assert called(Command((*run, "a", "--force"), 0), tmp_path) == 0
        assert finished(tmp_path) == old and not list((tmp_path / "runs" / "one").glob(".[pw]*"))
    assert code == 0 and kill > 10


def replaced(path, same_size):
    """Other contents of an image, with another number of bytes or the same."""
    if same_size:
        content = bytearray(path.read_bytes())
        content[-20] ^= 1  # in the last chunk: the head and its size stay
        path.write_bytes(content)
    else:
        write_image(path, (64, 64), seed=3)


def first(folder, name):
    return sorted(folder.glob(name))[0]


CHANGES = {  # of a request or of its inputs, in a folder
    "seed": lambda s, _: replace(s, seed=s.seed + 1),
    "recipe": lambda s, _: replace(s, recipe="efficientad-s"),
    "size": lambda s, _: replace(s, size="300"),
    "steps": lambda s, _: replace(s, steps=s.steps + 1),
    "weights": lambda s, _: replace(s, weights="other"),
    "penalty": lambda s, _: replace(s, penalty="none"),
    "device": lambda s, _: replace(s, device="cuda"),
    "weights' contents": lambda s, f: (f / "teacher.pth").write_bytes(b"two"),
    "penalty images' contents": lambda s, f: write_image(f / "penalty" / "deep" / "0.png", (9, 9), seed=2),
    "one penalty image more": lambda s, f: write_image(f / "penalty" / "1.png", (9, 9)),
    "training image": lambda s, f: replaced(first(f / "root/widget/train/good", "*.png"), same_size=False),
    "test image": lambda s, f: replaced(first(f / "root/widget/test/spot", "*.png"), same_size=False),
    "mask": lambda s, f: replaced(first(f / "root/widget/ground_truth/spot", "*.png"), same_size=False),
    "name": lambda s, f: first(f / "root/widget/test/good", "*.png").rename(f / "root/widget/test/good/x.png"),
    "image less": lambda s, f: first(f / "root/widget/train/good", "*.png").unlink(),
    "image more": lambda s, f: write_image(f / "root/widget/test/good/900.png", (64, 64)),
}


@EXAMPLES
@given(
    own=st.sampled_from([{}, {"weights": "teacher.pth"}, {"penalty": "penalty"}, {"steps": 7, "size": "256x320"}]),
    names=st.sets(st.sampled_from(sorted(CHANGES)), max_size=3),
)
def test_a_skip_or_a_resume_refuses_any_changed_setting_or_input(own, names, tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    write_parts(place / "root" / "widget")
    write_image(place / "penalty" / "deep" / "0.png", (9, 8))
    (place / "teacher.pth").write_bytes(b"one")
    own = own | {name: str(place / own[name]) for name in ("weights", "penalty") if name in own}
    asked = RunSettings("widget", "efficientad-lite", 0, str(place / "root"), out=str(place / "out"), **own)
    execute(asked)
    assert complete(asked) and not conflict(asked, load_category("widget", place / "root"))
    resumed = digest(asked, load_category("widget", place / "root"))
    changed = asked
    for name in sorted(names):
        result = CHANGES[name](changed, place)
        changed = result if isinstance(result, RunSettings) else changed
    used = set(names)
    if "teacher.pth" not in changed.weights:
        used -= {"weights' contents"}
    if changed.penalty != str(place / "penalty"):
        used -= {"penalty images' contents", "one penalty image more"}
    images = load_category("widget", place / "root")
    assert bool(used) == (complete(changed) is None) == bool(conflict(changed, images))
    assert bool(used - {"device"}) == (digest(changed, images) != resumed)
    shutil.rmtree(place)
