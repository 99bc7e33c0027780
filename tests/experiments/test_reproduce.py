"""A published table by one command: announced, asked for, resumed, and never called reproduced where it was not."""

import json
import shutil

import pytest
from experiments.test_compare import write_record

from padim_nb.cli import main
from padim_nb.experiments import reproduce
from padim_nb.experiments.published import row
from padim_nb.experiments.sweep import complete, run_one
from padim_nb.util.mvtec_counts import CATEGORIES

SOURCE = "padim-anomalib"


@pytest.fixture
def in_process(no_kernel, monkeypatch):
    """The sweep without workers; the categories that were run, in order."""
    done = []

    def sweep(runs, out, workers, log):
        left = [run for run in runs if complete(run) is None]
        done.extend((run.category, run.recipe) for run in left)
        return [run_one(run) for run in left]

    monkeypatch.setattr(reproduce, "sweep", sweep)
    return done


@pytest.fixture
def two(parts):
    """A data root with two categories."""
    shutil.copytree(parts / "widget", parts / "gadget")
    return parts


def command(data, out, *more):
    return ["reproduce", SOURCE, "--data", str(data), "--out", str(out), "--categories", "widget", "gadget",
            "--recipes", "padim-r18-anomalib", "--weights", "random", "--device", "cpu", *more]  # fmt: skip


def test_nothing_begins_unasked_or_with_a_wrong_name(two, tmp_path, capsys, in_process):
    out = tmp_path / "out"
    for arguments, words in (
        (command(two, out), "give --yes to begin"),
        (["reproduce", "padim-paper", "--data", str(two)], "no recipe follows padim-paper"),
        (["reproduce", "padim-anomalip", "--data", str(two)], "did you mean 'padim-anomalib'"),
        (command(two, out, "--recipes", "padim-lite0"), "no recipe of padim-anomalib 'padim-lite0'"),
        (command(two, out, "--seeds", "x"), "--seeds takes numbers"),
        (command(two / "absent", out, "--yes"), "absent"),
        (command(two, out, "--yes", "--against", str(two)), "is not a manifest"),
    ):
        assert main(arguments) == 2, arguments
        assert words in capsys.readouterr().err.splitlines()[-1]
    assert not out.exists() and not in_process


def test_a_killed_command_given_again_does_what_is_missing_and_its_manifest_can_be_compared(
    two, tmp_path, capsys, in_process
):
    out = tmp_path / "out"
    assert main(command(two, out, "--yes")) == 0
    shown = capsys.readouterr().out
    assert (
        "about 40 seconds, one run after another" in shown
        and "GB a run" in shown
        and "a trial: weights=random" in shown
    )
    shutil.rmtree(out / "gadget")
    (out / "manifest.json").unlink()
    del in_process[:]
    assert main(command(two, out, "--yes")) == 0
    assert in_process == [("gadget", "padim-r18-anomalib")]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["verdict"] == "measured on own images, not on MVTec AD"
    assert set(manifest["data"]["fingerprints"]) == {"widget", "gadget"}
    assert manifest["weights"]["padim-r18-anomalib"]["source"] == "random"
    assert manifest["versions"]["torch"] and manifest["commit"] and "--against" in manifest["again"]
    assert len(manifest["records"]) == 2
    measured = {line["category"] for line in manifest["figures"] if line["measured"]}
    assert measured == {"widget", "gadget"} and (out / "results.html").is_file()
    expected = {line["category"]: line["published"] for line in manifest["figures"] if line["metric"] == "image_auroc"}
    assert expected["cable"] == row(SOURCE, "image_auroc", "ResNet-18").values["cable"]

    earlier = tmp_path / "earlier.json"
    shutil.copy(out / "manifest.json", earlier)
    del in_process[:]
    assert main(command(two, out, "--yes", "--against", str(earlier))) == 0
    assert not in_process
    assert "the same as" in capsys.readouterr().out
    values = json.loads(earlier.read_text())
    line = next(line for line in values["figures"] if line["measured"] and line["metric"] == "image_auroc")
    line["measured"] = [line["measured"][0] - 0.1]
    values["data"]["fingerprints"]["gadget"] = "another"
    earlier.write_text(json.dumps(values))
    assert main(command(two, out, "--yes", "--against", str(earlier))) == 1
    shown = capsys.readouterr().out
    assert "gadget: other images" in shown and f"image_auroc, {line['category']}" in shown


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "32 of 32 figures within 0.01 of the published ones"),  # one seed has no interval
        ({"value": 0.5}, "of 32 figures within 0.01 of the published ones"),
        ({"data": "twin:lite"}, "measured on the twin: no result on MVTec AD"),
        ({"missing": True}, "incomplete"),
    ],
    ids=["all near", "far", "twin", "missing"],
)
def test_reproduced_is_said_only_of_a_whole_table_on_mvtec_ad(tmp_path, change, verdict):
    source, recipe = "padim-efficientnet-pytorch", "padim-r18-rd100"
    published = {metric: row(source, metric, "R18-Rd100").values for metric in ("image_auroc", "pixel_auroc")}
    paths = []
    for category in CATEGORIES[change.get("missing", False) :]:
        values = {metric: values[category] for metric, values in published.items()}
        values["image_auroc"] = change.get("value", values["image_auroc"])
        paths.append(
            write_record(tmp_path, recipe, category, data=change.get("data", "folder"), seed=1024,
                         metrics=values | {"aupro": None, "image_f1max": None})
        )  # fmt: skip
    wanted = reproduce.Request(source, "/data", tmp_path, (recipe,), CATEGORIES)
    manifest = reproduce.manifest_of(wanted, paths)
    stated = [line for line in manifest["figures"] if line["published"] is not None]
    near = sum(abs(line["measured"][0] - line["published"]) <= 0.01 for line in stated if line["measured"])
    count = sum(bool(line["measured"]) for line in stated)
    assert manifest["verdict"] == (
        verdict if not change or "data" in change
        else f"{near} {verdict}" if "value" in change
        else f"incomplete: {count} of {len(stated)} figures measured"
    )  # fmt: skip
    assert len(stated) == 32 and len(manifest["records"]) == len(paths)


def test_rows_that_no_recipe_follows_and_files_to_fetch_are_announced():
    shown = "\n".join(reproduce.announce(reproduce.request("efficientad-anomalib", "twin")))
    assert "no recipe follows EfficientAD-M" in shown
    assert "to fetch: imagenette2.tgz, 1557 MB, for research" in shown and "days, one run after another" in shown
