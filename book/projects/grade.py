"""A hidden test set for each student, and points for a CSV of scores.

python book/projects/grade.py hand SECRET CATEGORY FOLDER STUDENT...   one folder a student, and FOLDER/key to keep
python book/projects/grade.py grade KEY.csv SUBMISSION.csv             metrics and points

Each student gets good images to learn and test images without names: parts and defects of the twin from a seed that
only the teacher's SECRET gives. A submission has a line `rate,0.1`, the share of good parts that may be stopped (0.2 at
most), then `image,score,stopped` for each test image, 1 where the detector stops it.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from padim_nb import load_category
from padim_nb.errors import PadimError

POINTS = {"ranking (AUROC)": 40, "precision (AP)": 20, "promise": 20, "defects stopped": 20}
LOWEST, TOP = 0.5, 0.95  # a share of points from the first on, all of them from the second
LARGEST = 0.2  # rate that may be promised
DOUBT = 0.05  # a promise is broken where so many good parts are stopped by chance less often than this


def seed_of(secret: str, category: str, student: str) -> int:
    """The twin's seed for a student: nobody computes it without the secret."""
    digest = hashlib.sha256(f"{secret}/{category}/{student}".encode()).hexdigest()
    return 1000 + int(digest, 16) % 900_000_000


def hand(secret: str, category: str, folder: Path, student: str) -> Path:
    """Write a student's folder, in which nothing says which images are defective; returns the path of the key."""
    seed = seed_of(secret, category, student)
    parts = load_category(category, f"twin:seed={seed}")
    key = folder / "key" / f"{category}-{student}.csv"
    key.parent.mkdir(parents=True, exist_ok=True)
    own = folder / f"{category}-{student}"
    order = np.random.default_rng(seed).permutation(len(parts.test))
    rows = [(f"{number:03d}.png", parts.test[int(place)]) for number, place in enumerate(order)]
    for name, image in [(f"{n:03d}.png", sample.image) for n, sample in enumerate(parts.train)]:
        _copy(image, own / "train" / "good" / name)
    for name, sample in rows:
        _copy(sample.image, own / "hidden" / name)
    with key.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "label", "defect"), *((n, s.label, s.defect) for n, s in rows)])
    return key


def _copy(source: Path, target: Path) -> None:
    """Pixels only, decoded and written anew: no metadata and no time of the original."""
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(Image.open(source).convert("RGB"))).save(target)


def read_submission(path: Path, names: list[str]) -> tuple[float, np.ndarray, np.ndarray]:
    """Promised rate, scores and verdicts in the order of the key; PadimError names the first thing that is wrong."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    try:
        word, rate = lines[0][0], float(lines[0][1])
        rows = {row[0]: (float(row[1]), int(row[2])) for row in lines[1:] if row[0] != "image"}
    except (IndexError, ValueError) as error:
        raise PadimError(f"{path}: a line `rate,0.1`, then `image,score,stopped` with numbers ({error})") from error
    if word != "rate" or not 0 < rate <= LARGEST:
        raise PadimError(
            f"{path}: the first line is `rate,0.1`, the share of good parts that may be stopped, at most {LARGEST}"
        )
    if lost := sorted(set(names) ^ set(rows)):
        raise PadimError(f"{path}: {lost[0]} is missing or not in the hidden set, and {len(lost) - 1} others")
    values = np.array([rows[name] for name in names])
    if not (np.isfinite(values).all() and set(values[:, 1]) <= {0, 1}):
        raise PadimError(f"{path}: scores are finite numbers, verdicts 0 or 1")
    return rate, values[:, 0], values[:, 1].astype(bool)


def grade(key: Path, submission: Path) -> list[str]:
    """The lines of a report: what was measured, what it is worth, and the sum."""
    with key.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = np.array([int(row["label"]) for row in rows])
    rate, scores, stopped = read_submission(submission, [row["image"] for row in rows])
    good, wrong = int((labels == 0).sum()), int(stopped[labels == 0].sum())
    auroc, precision = roc_auc_score(labels, scores), average_precision_score(labels, scores)
    caught = float(stopped[labels == 1].mean())
    chance = binomtest(wrong, good, rate, "greater").pvalue
    order = bool(stopped.any() and not stopped.all() and scores[stopped].min() < scores[~stopped].max())
    honest = chance >= DOUBT and not order
    base = float(labels.mean())  # the AP of scores without meaning
    shares = {
        "ranking (AUROC)": (auroc - LOWEST) / (TOP - LOWEST),
        "precision (AP)": (precision - base) / (TOP - base),
        "promise": float(honest),
        "defects stopped": caught / TOP * honest,
    }
    points = {name: round(most * float(np.clip(shares[name], 0, 1))) for name, most in POINTS.items()}
    why = f"{wrong} of {good} good parts stopped, {rate:.0%} promised: "
    why += "kept" if honest else "a stopped part scores below one that passes" if order else f"by chance {chance:.1%}"
    measured = {
        "ranking (AUROC)": f"{auroc:.3f}",
        "precision (AP)": f"{precision:.3f}",
        "promise": why,
        "defects stopped": f"{caught:.0%}" + ("" if honest else ", which count only with a kept promise"),
    }
    lines = [f"{name:16} {points[name]:3} of {most:3}  {measured[name]}" for name, most in POINTS.items()]
    for kind in sorted({row["defect"] for row in rows if row["label"] == "1"}):
        own = np.array([row["defect"] == kind for row in rows])
        lines.append(f"  {kind}: {int(stopped[own].sum())} of {int(own.sum())} stopped")
    return [*lines, f"{'sum':16} {sum(points.values()):3} of {sum(POINTS.values()):3}"]


def main(arguments: list[str]) -> int:
    """Hand out or grade; 0 when done, 2 with one line on what is wrong."""
    try:
        match arguments:
            case ["hand", secret, category, folder, student, *others]:
                for name in (student, *others):
                    print(hand(secret, category, Path(folder), name))
            case ["grade", key, submission]:
                print(*grade(Path(key), Path(submission)), sep="\n")
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except (PadimError, OSError) as error:
        print(f"grade: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
