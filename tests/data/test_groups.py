"""Photographs of one part belong together: declared by sub-folders, a column, or a regular expression."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from making import write_image

from padim_nb import load_category, recipe
from padim_nb.cli import main
from padim_nb.data.groups import drawn_groups, group_note, grouping
from padim_nb.efficientad.detector import EfficientAD
from padim_nb.errors import DataError, ModelError, OptionError
from padim_nb.experiments.recipes import RECIPES
from padim_nb.least_squares.detector import LeastSquaresStudent

PART = r"part(\d+)"


def groups_of(samples):
    return [sample.group for sample in samples]


@pytest.fixture
def shots(tmp_path):
    """A category of nine photographs of three parts; the names of the files say which."""
    for number in range(9):
        write_image(tmp_path / "shots" / "train" / "good" / f"part{number // 3}-{number}.png", (64, 64), seed=number)
    return tmp_path / "shots"


def test_sub_folders_of_the_training_images_are_groups(shots, capsys):
    good = shots / "train" / "good"
    for path in sorted(good.iterdir())[:6]:
        (good / path.name[:5]).mkdir(exist_ok=True)
        path.rename(good / path.name[:5] / path.name)
    (good / ".hidden").mkdir()
    write_image(good / ".hidden" / "x.png")
    category = load_category("shots", shots)
    assert groups_of(category.train) == ["", "", "", *["part0"] * 3, *["part1"] * 3]
    assert group_note(category.train) == (
        "9 training images in 5 groups (3 on their own): the lowest false-alarm rate is 1/6 (16.7%)"
    )
    assert main(["data", "check", str(shots)]) == 0
    assert "note: shots: 9 training images in 5 groups (3 on their own)" in capsys.readouterr().out
    (good / "part1" / "broken.png").write_text("x")
    assert main(["data", "check", str(shots)]) == 1
    assert "broken.png is not a readable image" in capsys.readouterr().out


def test_a_column_of_a_table_names_the_groups(shots, capsys):
    table = shots / "parts.csv"
    rows = [[f"train/good/part{k // 3}-{k}.png", "train", "good", f"part {k // 3}" if k < 6 else ""] for k in range(9)]
    with open(table, "w", newline="") as stream:
        csv.writer(stream).writerows([["image", "split", "label", "group"], *rows])
    assert groups_of(load_category("any", table).train) == [*["part 0"] * 3, *["part 1"] * 3, "", "", ""]
    assert groups_of(load_category("any", table, PART).train) == [*"000111222"]
    assert main(["data", "check", str(table), "--group", PART]) == 0
    assert "9 training images in 3 groups: the lowest false-alarm rate is 1/4 (25.0%)" in capsys.readouterr().out


def test_a_regular_expression_finds_groups_in_file_names(shots):
    assert groups_of(load_category("shots", shots, PART).train) == [*"000111222"]
    assert groups_of(load_category("shots", shots, "part[01]").train) == [*["part0"] * 3, *["part1"] * 3, *[""] * 3]
    plain = load_category("shots", shots)
    assert grouping(plain.train) == grouping(load_category("shots", shots, r"-\d").train) == ""
    assert grouping(load_category("shots", shots, PART).train) == grouping(load_category("shots", shots, "part.").train)


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("part(", "the group 'part(' is no regular expression: missing ), unterminated subpattern at position 4"),
        ("nut", "the group 'nut' matches no training image, such as 'part0-0.png'"),
        ("x*", "the group 'x*' matches no training image"),
        ("part", "the group 'part' makes one group, 'part', of all 9 training images: it must differ between parts"),
    ],
)
def test_a_group_that_is_none_is_one_line(group, words, shots, tmp_path, capsys):
    with pytest.raises((DataError, OptionError)) as error:
        load_category("shots", shots, group)
    assert words in str(error.value)
    for command in ("run", "sweep"):
        names = ["shots"] if command == "run" else ["--recipes", "padim-gabor", "--categories", "shots"]
        code = main([command, *names, "--data", str(shots), "--out", str(tmp_path / "out"), "--group", group])
        assert code in (1, 2) and words[:40] in "".join(capsys.readouterr())
    assert not list((tmp_path / "out").rglob("record.json"))
    assert main(["data", "check", str(shots), "--group", group]) in (1, 2)
    assert words in "".join(capsys.readouterr())


def test_all_images_of_one_sub_folder_leave_no_threshold(shots):
    good = shots / "train" / "good"
    (good / "only").mkdir()
    for path in list(good.glob("*.png")):
        path.rename(good / "only" / path.name)
    train = load_category("shots", shots).train
    assert "9 training images in 1 group: no threshold can be set" in group_note(train)
    with pytest.raises(ModelError, match="leaving out a group of 9 of 9 good images"):
        recipe("padim-gabor", device="cpu").fit(train, 0.1)
    with pytest.raises(ModelError, match="all 9 good images are of one group"):
        EfficientAD(RECIPES["efficientad-s"].settings)._split(train)


def test_groups_are_part_of_a_run_and_of_its_record(shots, tmp_path, capsys, no_kernel):
    out = tmp_path / "out"
    run = ["run", "shots", "--recipe", "padim-gabor", "--data", str(shots), "--out", str(out)]
    assert main([*run, "--group", PART]) == 0
    line = "9 training images in 3 groups: the lowest false-alarm rate is 1/4 (25.0%)"
    assert f"note: {line}" in capsys.readouterr().out
    record = json.loads((out / "record.json").read_text())
    assert line in record["notes"]
    assert (record["data"]["groups"], record["data"]["group"]) == (3, PART)
    assert record["threshold"]["groups"] == 3 and record["threshold"]["images"] == 9
    before = (out / "record.json").read_bytes()
    assert main(run) == 2
    error = capsys.readouterr().err
    assert "holds a finished run with other groups" in error and error.count("\n") == 1
    assert (out / "record.json").read_bytes() == before
    assert main([*run, "--group", r"part(\d)-"]) == 0  # the same images together


def test_a_sweep_skips_a_run_of_the_same_groups_and_refuses_one_of_others(shots, tmp_path, capsys, no_detector):
    sweep = ["sweep", "--recipes", "padim-gabor", "--categories", "shots", "--data", str(shots), "--workers", "1"]
    sweep += ["--out", str(tmp_path / "runs")]
    from padim_nb.experiments.run import execute
    from padim_nb.experiments.sweep import complete, plan

    (settings,) = plan(["padim-gabor"], ["shots"], [-1], tmp_path / "runs", data=str(shots), group=PART)
    execute(settings)
    assert complete(settings) is not None and complete(replace(settings, group="")) is None
    assert main([*sweep, "--group", PART]) == 0
    assert "1 of 1 runs were there" in capsys.readouterr().out
    assert main(sweep) == 2
    assert "other groups" in capsys.readouterr().err


def test_whole_groups_are_held_out_where_images_are_drawn(shots):
    train = load_category("shots", shots, PART).train
    learned, held_out = EfficientAD(replace(RECIPES["efficientad-s"].settings, held_out=0.2))._split(train)
    assert len(held_out) == 3 and len(learned) == 6
    assert not set(groups_of(learned)) & set(groups_of(held_out))
    settings = replace(RECIPES["least-squares-student"].settings, held_out=0.2, images=2, calibration_images=9)
    learned, held_out, others = LeastSquaresStudent(settings)._thirds(train)
    assert (len(learned), len(held_out), len(others)) == (2, 3, 3)
    assert len({*groups_of(learned), *groups_of(held_out), *groups_of(others)}) == 3
    alone = [replace(sample, group="") for sample in train]
    order = np.random.default_rng(3).permutation(9)
    assert [group.tolist() for group in drawn_groups(alone, 3)] == [[k] for k in order]


def test_of_other_good_images_the_largest_score_of_each_group_sets_the_threshold(shots):
    train = load_category("shots", shots, PART).train
    detector = recipe("padim-gabor", device="cpu").fit(train[:3])
    threshold = detector.calibrate(train[3:], 0.4)
    assert (threshold.images, threshold.groups) == (6, 2)
    largest = detector.score(train[3:]).scores.reshape(2, 3).max(1)
    assert threshold.value == pytest.approx(largest.max())
