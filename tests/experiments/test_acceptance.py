"""`padim-nb accept`: the page and the JSON say what the images show; exit codes; one line for what is wrong."""

import hashlib
import json
import re
import shutil

import pytest

from padim_nb import load_category
from padim_nb.cli import main
from padim_nb.data.images import Frame
from padim_nb.deploy.export import export
from padim_nb.evaluation.acceptance import Count
from padim_nb.evaluation.thresholds import Threshold
from padim_nb.experiments import acceptance
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.settings import PaDiMSettings, Selection

SMALL = PaDiMSettings("gabor", Frame((64, 64)), Selection("random", 20, 0))


@pytest.fixture
def detector(parts):
    return PaDiM.from_settings(SMALL, "cpu").fit(load_category("widget", parts).train, 0.2)


@pytest.fixture
def model(detector, tmp_path):
    return detector.save(tmp_path / "m.safetensors")


@pytest.fixture
def accepted(model, parts, tmp_path, monkeypatch, capsys):
    """Runs `accept` on the small parts; (exit code, what it printed, the facts, the page)."""
    monkeypatch.setattr(acceptance, "TIMED", 1)

    def call(*options, folder=parts / "widget", file=model):
        code = main(["accept", str(file), str(folder), "--device", "cpu", "--out", str(tmp_path / "out"), *options])
        printed, texts = capsys.readouterr(), []
        for ending in ("json", "html"):
            path = tmp_path / "out" / f"acceptance.{ending}"
            texts.append(path.read_text(encoding="utf-8") if path.exists() else "null")
        return code, printed, json.loads(texts[0]), texts[1]

    return call


def test_the_page_and_the_json_hold_counts_threshold_times_and_fingerprints(accepted, detector, model, parts):
    code, printed, facts, page = accepted()
    assert code == 0 and printed.out.splitlines()[-2].endswith("acceptance.html")
    category = load_category("widget", parts)
    stopped = detector.score(category.test).scores > detector.threshold_.value
    assert [score["stopped"] for score in facts["scores"]] == stopped.tolist()
    for kind, label in (("good", 0), ("line", 1), ("spot", 1)):
        own = [
            bool(s) != bool(label) for s, sample in zip(stopped, category.test, strict=True) if sample.defect == kind
        ]
        expected = Count(sum(own), len(own))
        entry = facts["kinds"][kind]
        assert (entry["wrong"], entry["parts"]) == (expected.wrong, expected.parts)
        assert entry["interval"] == list(expected.interval) and entry["at_most_95"] == expected.at_most
    assert facts["threshold"]["images"] == 12 and facts["threshold"]["rank"] == 2
    assert facts["threshold"]["stopped_on_average"] == 2 / 13
    assert facts["milliseconds"]["images"] == len(category.test)
    assert facts["sha256"]["model"] == hashlib.sha256(model.read_bytes()).hexdigest()
    lines = sorted((s.image.relative_to(parts / "widget").as_posix(), s.image) for s in category.test)
    listing = "".join(f"{hashlib.sha256(image.read_bytes()).hexdigest()}  {name}\n" for name, image in lines)
    assert facts["sha256"]["images"] == hashlib.sha256(listing.encode()).hexdigest()
    for words in (*facts["sha256"].values(), "2/13", "Reviewer, date", "Rollback", "Known-bad parts"):
        assert words in page
    assert page.count("<figure>") == page.count('src="data:image/jpeg') == page.count("<img") == 8
    assert not re.search(r"https?://|<script|@import|url\(", page)


def test_an_exported_detector_says_the_same(accepted, detector, tmp_path):
    _, _, saved, _ = accepted()
    shutil.rmtree(tmp_path / "out")
    code, _, exported, _ = accepted(file=export(detector, tmp_path / "m.onnx"))
    assert code == 0 and exported["kinds"] == saved["kinds"] and exported["threshold"] == saved["threshold"]


def test_a_test_folder_alone_is_taken_like_its_category(accepted, parts, tmp_path):
    _, _, category, _ = accepted()
    shutil.rmtree(tmp_path / "out")
    _, _, test, _ = accepted(folder=parts / "widget" / "test")
    assert test["kinds"] == category["kinds"] and test["sha256"]["images"] != category["sha256"]["images"]


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (("--escapes", "0.5"), 0, r"escapes 50 %: shown: 0 of 5 show at most 45 % with 95 % certainty"),
        (("--escapes", "0.01"), 1, r"escapes 1\.0 %: NOT shown: 0 of 5 .*; 294 more defective parts without a mistake"),
        (("--escapes", "0.5", "--rejects", "0.05"), 1, r"rejects 5\.0 %: NOT shown"),
    ],
)
def test_the_exit_code_says_whether_the_images_show_the_limits(accepted, detector, options, code, line):
    detector.threshold_ = Threshold(detector.threshold_.value * 1.2, 0.2, 12)
    result, printed, facts, page = accepted(*options)
    assert result == code and re.search(line, printed.out)
    assert all(limit["reason"] in printed.out for limit in facts["limits"])
    assert ("not shown" in page) == bool(code)


@pytest.mark.parametrize(("kind", "option", "words"), [
    ("good", "--rejects", "No good parts were judged"),
    ("defective", "--escapes", "No defective parts were judged"),
])  # fmt: skip
def test_parts_that_were_not_judged_show_nothing(accepted, parts, kind, option, words):
    for folder in (parts / "widget" / "test").iterdir():
        if (folder.name == "good") == (kind == "good"):
            shutil.rmtree(folder)
    code, printed, _, page = accepted(option, "0.9")
    assert code == 1 and f"there are no {kind} parts, and it takes 2 without a mistake" in printed.out
    assert words in page


def test_names_are_escaped(accepted, parts):
    test = parts / "widget" / "test"
    shutil.rmtree(parts / "widget" / "ground_truth")
    (test / "spot").rename(test / "<b>spot & co")
    image = test / "<b>spot & co" / "000.png"
    image.rename(image.with_name('$\\x$ "<i>.png'))
    code, _, facts, page = accepted()
    assert code == 0 and "<b>spot & co" in facts["kinds"]
    assert 'test/<b>spot & co/$\\x$ "<i>.png' in [score["image"] for score in facts["scores"]]
    assert "&lt;b&gt;spot &amp; co" in page and "<b>spot" not in page and '"<i>' not in page


@pytest.mark.parametrize("wrong", [
    "no folder", "empty folder", "empty kind", "unreadable image", "no threshold", "share of 1", "share that is NaN",
    "no model",
])  # fmt: skip
def test_what_is_wrong_is_one_line_and_nothing_is_written(wrong, accepted, detector, model, parts, tmp_path):
    test, options, words = parts / "widget" / "test", {"folder": parts / "widget" / "test"}, str(model)
    arguments = ()
    if wrong == "no folder":
        options["folder"] = tmp_path / "none"
        words = "none is not a folder"
    elif wrong == "empty folder":
        options["folder"] = tmp_path / "empty"
        options["folder"].mkdir()
        words = "no images of known parts"
    elif wrong == "empty kind":
        (test / "dent").mkdir()
        words = f"no images in {test / 'dent'}"
    elif wrong == "unreadable image":
        (test / "spot" / "001.png").write_text("hello")
        words = f"{test / 'spot' / '001.png'} is not a readable image"
    elif wrong == "no threshold":
        detector.threshold_ = None
        detector.save(model)
        words = f"{model} has no threshold"
    elif wrong.startswith("share"):
        arguments, words = ("--escapes", "nan" if "NaN" in wrong else "1"), "--escapes is a share between 0 and 1"
    else:
        model.unlink()
    code, printed, facts, _ = accepted(*arguments, **options)
    assert code == 2 and printed.err.count("\n") == 1 and words in printed.err and facts is None


def test_the_acceptance_of_another_model_is_not_overwritten(accepted, detector, model, parts):
    _, _, facts, _ = accepted()
    assert accepted()[0] == 0, "repeated as it was"
    image = next((parts / "widget" / "test" / "good").iterdir())
    content = image.read_bytes()
    image.write_bytes(content + b"\0")
    assert accepted()[0] == 2
    image.write_bytes(content)
    assert accepted("--escapes", "0.1")[0] == 2
    detector.fit(load_category("widget", parts).train[:8], 0.2).save(model)
    code, printed, after, _ = accepted()
    assert code == 2 and "give another folder with --out" in printed.err and after["sha256"] == facts["sha256"]
