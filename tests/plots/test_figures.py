"""Charts of results: what is drawn is what was measured, with its intervals."""

import numpy as np
import pytest

from padim_nb.plots import figures


def test_dots_are_means_over_seeds_with_their_deviation_and_an_interval_over_images():
    named = {"a": [[0.8, 0.9], 0.7], "b": [[], [0.5, 0.5]]}
    intervals = {"a": [(0.6, 1.0), None]}
    axes = figures.dots(named, ["first", "second"], "AUROC", intervals).axes[0]
    means = [x for line in axes.lines for x in np.atleast_1d(line.get_xdata()) if line.get_marker() not in ("", "None")]
    assert sorted(x for x in means if np.isfinite(x)) == pytest.approx([0.5, 0.7, 0.85])
    bars = [sorted(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    bars += [sorted(ends[:, 0]) for lines in axes.collections for ends in lines.get_segments()]
    deviation = np.std([0.8, 0.9], ddof=1)
    assert any(bar == pytest.approx([0.85 - deviation, 0.85 + deviation]) for bar in bars)
    assert any(bar == pytest.approx([0.6, 1.0]) for bar in bars)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]


@pytest.mark.parametrize("count", [2, 4, 5, 9])
def test_a_legend_of_many_names_stays_inside_the_figure(count):
    names = ["padim-lite0", "padim-gabor", "padim-random", "padim-r18-rd100", "least-squares-student", *"abcd"][:count]
    figure = figures.dots({name: [0.9, 0.8] for name in names}, ["first", "second"], "AUROC")
    figure.draw_without_rendering()
    box, edges = figure.legends[0].get_window_extent(), figure.bbox
    assert box.x0 >= edges.x0 and box.x1 <= edges.x1


def test_dots_of_one_name_need_no_legend():
    figure = figures.dots({"published": [0.9, float("nan")]}, ["first", "second"], "AUROC")
    assert not figure.legends and figure.axes[0].get_legend() is None


def test_four_samples_are_the_best_middle_and_worst_defect_and_the_worst_good_part(parts):
    from padim_nb import load_category

    test = load_category("widget", parts).test  # 4 good, then 2 lines and 3 spots
    assert figures.telling(test, np.array([1, 4, 2, 3, 9, 5, 8, 6, 7.0])) == [4, 8, 5, 1]
    assert figures.telling(test[:4], np.array([1, 4, 2, 3.0])) == [1, 3, 2, 0]


def test_a_tile_is_drawn_by_its_kind_and_spare_places_stay_empty():
    tiles = [
        ("image", np.zeros((8, 8, 3), np.uint8), np.eye(8, dtype=bool)),
        ("mask", np.eye(8, dtype=bool), None),
        ("map", np.linspace(0, 2, 64).reshape(8, 8), None),
    ]
    first, mask, heat, spare = figures.sheet(tiles, 2, scale=(0, 4)).axes
    assert [axes.get_title(loc="left") for axes in (first, mask, heat, spare)] == ["image", "mask", "map", ""]
    assert len(first.collections) == 1 and not mask.collections, "an outline where a mask was given"
    assert (mask.images[0].get_cmap().name, heat.images[0].get_cmap().name) == ("gray", figures.HEAT)
    assert heat.images[0].get_clim() == (0, 4) and not spare.images
