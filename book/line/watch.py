"""Judges each photograph that a camera puts into a folder: python watch.py model.onnx FOLDER VERDICTS.csv

A file is judged once, when it is whole, also after a restart: the CSV file says which were. Where no photograph comes
for a minute, a line says so: silence is no verdict.
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

from padim_nb.data.images import load_image
from padim_nb.data.mvtec import images_in
from padim_nb.deploy.scoring import open_scorer
from padim_nb.errors import PadimError
from padim_nb.util.files import sha256

SILENCE, PATIENCE = 60.0, 2.0  # seconds: without a photograph, with a file that does not become readable


def watch(model: Path, folder: Path, verdicts: Path, until: float = float("inf"), pause: float = 0.05) -> None:
    """Append time, file, verdict, score, threshold and model to a CSV file, a line for each photograph."""
    scorer, name = open_scorer(model, threads=1), sha256(model)[:12]
    with verdicts.open("a+", newline="", encoding="utf-8") as file:
        file.seek(0)
        judged = {row[1] for row in csv.reader(file)}
    seen: dict[Path, tuple[tuple[int, int], float]] = {}  # (size, time of change) of a file, and since when it has them
    last = time.monotonic()
    with verdicts.open("a", newline="", encoding="utf-8") as file:

        def note(*cells: object) -> None:
            csv.writer(file).writerow([time.strftime("%Y-%m-%dT%H:%M:%S"), *cells, scorer.threshold, name])
            file.flush()

        while time.monotonic() < until:
            for path in [path for path in images_in(folder) if path.name not in judged]:
                now, facts = time.monotonic(), path.stat()
                state = (facts.st_size, facts.st_mtime_ns)
                former, since = seen.get(path, (None, now))
                seen[path] = (state, since if former == state else now)
                if former != state:
                    continue  # it is new, or still grows: look again
                try:
                    framed = scorer.frame.apply(load_image(path))
                except PadimError as error:
                    if now - since > PATIENCE:
                        note(path.name, "unreadable", str(error))
                        judged.add(path.name)
                    continue
                score = float(scorer.score_images(framed[None]).scores[0])
                note(path.name, "defective" if score > scorer.threshold else "good", f"{score:.4g}")
                judged.add(path.name)
                last = now
            if time.monotonic() - last > SILENCE:
                note("", "no photograph", f"for {SILENCE:.0f} s")
                last = time.monotonic()
            time.sleep(pause)


if __name__ == "__main__":
    watch(*map(Path, sys.argv[1:4]))
