"""The teacher's grader: hidden tests that give nothing away, points for right work, one line for what is wrong."""

import csv
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from padim_nb import load_category

PATH = Path(__file__).parents[2] / "book" / "projects" / "grade.py"
spec = importlib.util.spec_from_file_location("grade", PATH)
grader = importlib.util.module_from_spec(spec)
sys.modules["grade"] = grader
spec.loader.exec_module(grader)


@pytest.fixture
def handed(parts, tmp_path, monkeypatch):
    """A class of two whose parts are the tests' own small ones, in place of the twin's; their key files."""
    seen = []

    def small(category, data):
        seen.append(data)
        return load_category("widget", parts)

    monkeypatch.setattr(grader, "load_category", small)
    assert grader.main(["hand", "s3cret", "cable", str(tmp_path / "class"), "ada", "kurt"]) == 0
    assert len(set(seen)) == 2 and all(data.startswith("twin:seed=") for data in seen)
    return tmp_path / "class"


def key_of(folder, student="ada"):
    with (folder / "key" / f"cable-{student}.csv").open() as file:
        return list(csv.DictReader(file))


def submitted(tmp_path, rows, rate=0.1):
    path = tmp_path / "scores.csv"
    path.write_text("\n".join([f"rate,{rate}", "image,score,stopped", *(",".join(map(str, row)) for row in rows)]))
    return path


def report(folder, path, capsys, code=0):
    capsys.readouterr()
    assert grader.main(["grade", str(folder / "key" / "cable-ada.csv"), str(path)]) == code
    out, error = capsys.readouterr()
    return error if code else out


def test_a_students_folder_does_not_tell_which_images_are_defective(handed):
    files = sorted(p.relative_to(handed).as_posix() for p in (handed / "cable-ada").rglob("*") if p.is_file())
    assert files == [f"cable-ada/hidden/{n:03d}.png" for n in range(9)] + [
        f"cable-ada/train/good/{n:03d}.png" for n in range(12)
    ]
    labels = [row["label"] for row in key_of(handed)]
    assert sorted(labels) == ["0"] * 4 + ["1"] * 5 and labels != sorted(labels)
    assert labels != [row["label"] for row in key_of(handed, "kurt")]
    assert grader.seed_of("s3cret", "cable", "ada") != grader.seed_of("guess", "cable", "ada")


def test_perfect_scores_get_all_points_and_noise_few(handed, tmp_path, capsys):
    rows = key_of(handed)
    perfect = [(row["image"], row["label"], row["label"]) for row in rows]
    assert report(handed, submitted(tmp_path, perfect), capsys).endswith("sum              100 of 100\n")
    noise = np.random.default_rng(0).random(len(rows))
    text = report(handed, submitted(tmp_path, [(r["image"], s, 0) for r, s in zip(rows, noise, strict=True)]), capsys)
    assert int(text.splitlines()[-1].split()[1]) < 60 and "spot: 0 of 3 stopped" in text


def test_a_broken_promise_costs_its_points_and_those_of_the_stopped_defects(handed, tmp_path, capsys):
    everything = [(row["image"], row["label"], 1) for row in key_of(handed)]
    text = report(handed, submitted(tmp_path, everything), capsys)
    assert "4 of 4 good parts stopped, 10% promised: by chance 0.0%" in text
    assert text.endswith("sum               60 of 100\n")
    odd = [(row["image"], row["label"], 1 - int(row["label"])) for row in key_of(handed)]
    assert "a stopped part scores below one that passes" in report(handed, submitted(tmp_path, odd, 0.2), capsys)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("rate,0.1", "rate,0.5"), "the first line is `rate,0.1`"),
        (lambda text: text.replace("000.png", "900.png"), "is missing or not in the hidden set"),
        (lambda text: text.replace("001.png,", "001.png,nan,"), "numbers"),
        (lambda text: "", "a line `rate,0.1`"),
    ],
)
def test_a_wrong_submission_gets_one_line(handed, tmp_path, capsys, change, message):
    path = submitted(tmp_path, [(row["image"], row["label"], row["label"]) for row in key_of(handed)])
    path.write_text(change(path.read_text()))
    error = report(handed, path, capsys, code=2)
    assert message in error and error.count("\n") == 1
