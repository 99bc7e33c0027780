"""Solution of the project `hidden`: a detector for a handed-out folder, and the CSV that is graded.

python book/projects/teacher/hidden.py FOLDER SCORES.csv
"""

import csv
import sys
from pathlib import Path

from padim_nb import load_category, recipe
from padim_nb.data.mvtec import Sample, images_in

RATE = 0.1


def main(folder, out):
    """Fit on train/good, set the threshold from the same images by leave-one-out, score the hidden ones."""
    detector = recipe("padim-lite0")
    detector.fit(load_category(folder.name, folder).train, false_alarm=RATE)
    paths = images_in(folder / "hidden")
    scores = detector.score([Sample(path, 0, "unknown") for path in paths]).scores
    with out.open("w", newline="", encoding="utf-8") as file:
        write = csv.writer(file).writerow
        write(["rate", RATE])
        write(["image", "score", "stopped"])
        for path, score in zip(paths, scores, strict=True):
            write([path.name, float(score), int(score > detector.threshold_.value)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
