"""Draws book/images/hero.jpg, the first figure of the book: two parts, their anomaly maps, their verdicts.

python book/hero.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt

from padim_nb import load_category, recipe
from padim_nb.data.images import image_batches, masks
from padim_nb.evaluation.report import format_value
from padim_nb.plots import figures

TARGET = Path(__file__).resolve().parent / "images" / "hero.jpg"


def main() -> None:
    """Fit the default detector to good toothbrushes of the twin and judge a good and a defective one."""
    brushes = load_category("toothbrush", "twin:lite")
    detector = recipe("padim-lite0", device="cpu").fit(brushes.train, false_alarm=0.05)
    assert detector.threshold_
    limit = detector.threshold_.value
    samples = [next(s for s in brushes.test if s.label == label) for label in (0, 1)]
    (images,) = image_batches(samples, detector.settings.frame, 2)
    maps, truth = detector.score(samples), masks(samples, detector.settings.frame)
    with figures.style(sheet=True):
        figure, grid = plt.subplots(2, 3, figsize=(5.4, 4.1))
        for row, image, map_, mask, score in zip(grid, images, maps.maps, truth, maps.scores, strict=True):
            figures.photo(row[0], image, "a new part" if not mask.any() else "one with a defect")
            row[1].imshow(map_, cmap=figures.HEAT, vmin=0, vmax=1.5 * limit)
            row[1].set_title("its anomaly map", fontsize=8.5, pad=3)
            row[1].set_axis_off()
            stopped = score > limit
            sign, word = (">", "stopped") if stopped else ("<", "passes")
            verdict = f"{word}: {format_value(score)} {sign} {format_value(limit)}"
            figures.photo(row[2], image, verdict, map_ > limit)
        figure.subplots_adjust(0.005, 0.01, 0.995, 0.95, 0.03, 0.12)
        figure.savefig(TARGET, dpi=200, pil_kwargs={"quality": 88})
    print(TARGET)


if __name__ == "__main__":
    main()
