"""Exact metrics held against scikit-learn and slow loops; each pitfall of shortcuts is a test."""

import numpy as np
import pytest
import reference
from scipy import ndimage
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from padim_nb import evaluate, load_category
from padim_nb.data.images import Frame
from padim_nb.data.maps import AnomalyMaps
from padim_nb.errors import DataError, OptionError
from padim_nb.evaluation import metrics


def example(seed=0, n=6, size=24, ties=False):
    """Maps and masks (n, size, size): two good images, the others with one or two defects."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, size, size), dtype=bool)
    for image in range(2, n):
        for _ in range(rng.integers(1, 3)):
            y, x = rng.integers(0, size - 8, 2)
            masks[image, y : y + rng.integers(2, 8), x : x + rng.integers(2, 8)] = True
    maps = (rng.normal(0, 1, masks.shape) + 1.5 * masks).astype(np.float32)
    return (np.round(maps * 2) / 2 if ties else maps), masks


def slow_aupro(maps, masks, limit):
    """Every distinct score is a threshold; overlap over false-alarm rate, trapezoids, cut linearly at the limit."""
    regions = []
    for number, mask in enumerate(masks):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [maps[number][labels == k + 1] for k in range(count)]
    normal = maps[~masks]
    x, y = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        x.append(float((normal >= threshold).mean()))
        y.append(float(np.mean([(scores >= threshold).mean() for scores in regions])))
    x, y = np.array(x), np.array(y)
    inside = x < limit
    edge = np.interp(limit, x, y)
    return np.trapezoid(np.r_[y[inside], edge], np.r_[x[inside], limit]) / limit


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_auroc_and_ap_are_scikit_learns_and_f1_is_the_best_there_is(seed, ties):
    maps, masks = example(seed, ties=ties)
    scores, labels = maps.ravel(), masks.ravel()
    assert metrics.auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    assert metrics.average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=1e-9)
    f1, threshold = metrics.best_f1(scores, labels)
    assert f1 == pytest.approx(f1_score(labels, scores >= threshold), abs=1e-12)
    assert f1 >= max(f1_score(labels, scores >= t) for t in np.quantile(scores, np.linspace(0.5, 1, 60))) - 1e-12


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("limit", [0.3, 0.05, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_aupro_is_that_of_the_slow_loop(seed, limit, ties):
    maps, masks = example(seed, ties=ties)
    assert metrics.aupro(maps, masks, limit) == pytest.approx(slow_aupro(maps, masks, limit), abs=1e-9)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("limit", [0.3, 0.05, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_saturated_overlap_is_that_of_the_slow_loop(seed, limit, ties):
    maps, masks = example(seed, ties=ties)
    rng = np.random.default_rng(seed)
    regions = [(maps[n][mask], rng.uniform(0.1, mask.sum())) for n, mask in enumerate(masks) if mask.any()]
    regions += [(maps[2, 4:9, 4:9].ravel(), 7.5), (maps[2, 6:12, 2:7].ravel(), 1.0)]  # which overlap
    normal = np.sort(maps[~masks])
    values = [metrics.saturated_overlap(metrics.Ranks.of_sorted(normal, s), area, limit) for s, area in regions]
    assert np.mean(values) == pytest.approx(reference.saturated_overlap(normal, regions, limit), abs=1e-9)


@pytest.mark.parametrize("limit", [0.3, 0.05])
def test_the_saturated_overlap_of_connected_regions_that_saturate_at_their_area_is_the_aupro(limit):
    maps, masks = example(4, ties=True)
    normal, regions = metrics.rank_pixels(maps, masks)
    scores = [regions.scores[regions.region == number] for number in range(regions.region_image.size)]
    values = [metrics.saturated_overlap(metrics.Ranks.of_sorted(normal, s), s.size, limit) for s in scores]
    np.testing.assert_allclose(values, metrics.region_overlap(maps, masks, limit), atol=1e-12)


def test_pitfall_scale_no_monotone_change_matters():
    maps, masks = example(5, n=20)
    heavy = np.exp(1.5 * maps.astype(np.float64)) ** 2
    assert metrics.aupro(heavy, masks) == pytest.approx(metrics.aupro(maps, masks), abs=1e-9)
    assert metrics.auroc(heavy.ravel(), masks.ravel()) == pytest.approx(
        metrics.auroc(maps.ravel(), masks.ravel()), abs=1e-9
    )
    thresholds = np.linspace(heavy.min(), heavy.max(), 200)
    rates = np.array([(heavy[~masks] > t).mean() for t in thresholds])
    assert (rates < 0.3).sum() > 190, "equidistant thresholds all sit where nothing is left to tell: the known shortcut"


def test_pitfall_outlier_one_pixel_changes_nothing_else():
    maps, masks = example(6, n=12)
    spiked = maps.copy()
    spiked[0, 0, 0] = maps.max() * 50
    assert metrics.aupro(spiked, masks) == pytest.approx(metrics.aupro(maps, masks), abs=2e-3)


def test_pitfall_ties_do_not_depend_on_the_order_in_memory():
    maps, masks = example(7, ties=True)
    maps[:, :4] = 0.0  # a constant border
    flipped = maps[::-1, ::-1, ::-1].copy(), masks[::-1, ::-1, ::-1].copy()
    assert metrics.aupro(maps, masks) == pytest.approx(metrics.aupro(*flipped), abs=1e-12)
    constant = np.zeros_like(maps)
    assert metrics.auroc(constant.ravel(), masks.ravel()) == 0.5
    assert metrics.average_precision(constant.ravel(), masks.ravel()) == pytest.approx(masks.mean(), abs=1e-12)


def test_pitfall_cut_the_integral_ends_at_the_limit_not_before():
    maps, masks = example(8)
    assert metrics.aupro(masks.astype(np.float32), masks, 0.3) == pytest.approx(1.0, abs=1e-12)
    assert metrics.aupro(-masks.astype(np.float32), masks, 0.3) == pytest.approx(0.0, abs=1e-12)
    assert metrics.aupro(np.zeros_like(maps), masks, 0.3) == pytest.approx(0.15, abs=1e-12)


def test_pitfall_pool_regions_weigh_alike_whatever_their_size():
    masks = np.zeros((1, 20, 20), dtype=bool)
    masks[0, :10, :10] = masks[0, 18, 18] = True
    maps = np.where(masks, -1.0, 0.0).astype(np.float32)
    maps[0, 18, 18] = 1.0  # the one-pixel region is found, the large one is not
    assert metrics.aupro(maps, masks) == pytest.approx(0.5, abs=1e-12)


def test_pitfall_good_images_count_in_the_false_alarms():
    maps, masks = example(9)
    louder = maps.copy()
    louder[0] += 3.0
    assert metrics.aupro(louder, masks) < metrics.aupro(maps, masks) - 0.05


def test_pitfall_connectivity_corners_touch():
    masks = np.zeros((1, 8, 8), dtype=bool)
    masks[0, 2, 2] = masks[0, 3, 3] = True
    assert metrics.Regions.of(np.zeros((1, 8, 8), np.float32), masks).region_image.size == 1


def test_pitfall_half_precision_makes_ties_and_they_are_handled():
    maps, masks = example(10)
    half = maps.astype(np.float16)
    exact = roc_auc_score(masks.ravel(), half.ravel())
    assert metrics.auroc(half.ravel(), masks.ravel()) == pytest.approx(exact, abs=1e-9)


def test_aupimo_needs_enough_good_pixels_and_is_the_mean_recall_over_the_log_rate():
    rng = np.random.default_rng(0)
    masks = np.zeros((5, 256, 256), dtype=bool)
    masks[2:, 40:60, 40:60] = True
    maps = (rng.normal(0, 1, masks.shape) + 4 * masks).astype(np.float32)
    good = np.array([True, True, False, False, False])
    found = metrics.aupimo(maps, masks, good)
    assert np.isnan(found[:2]).all()
    normal = np.sort(maps[good].ravel())[::-1]
    rates = np.exp(np.linspace(np.log(1e-5), np.log(1e-4), 400))
    thresholds = normal[np.maximum(np.ceil(rates * normal.size).astype(int) - 1, 0)]
    wanted = np.mean([(maps[3][masks[3]] > t).mean() for t in thresholds])
    assert found[3] == pytest.approx(wanted, abs=0.02)
    assert np.isnan(metrics.aupimo(maps[:, :32, :32], masks[:, :32, :32], good)).all()


def test_a_report_has_every_figure_and_a_row_for_each_defect(parts):
    widget = load_category("widget", parts)
    rng = np.random.default_rng(0)
    maps = rng.normal(0, 1, (9, 64, 64)).astype(np.float32)
    maps[4:6, 40:43, 5:60] += 8
    maps[6:, 20:32, 30:44] += 8
    report = evaluate(maps, widget.test)
    assert report.metrics["image_auroc"] == 1.0
    assert report.metrics["pixel_auroc"] > 0.99
    assert report.metrics["aupro"] > 0.99
    assert {row.defect: row.n for row in report.per_defect} == {"line": 2, "spot": 3}
    assert report.metrics["aupimo"] is None
    assert "100,000 pixels" in report.notes[0]
    assert "line" in str(report)
    assert set(report.as_dict()) == {"metrics", "intervals", "thresholds", "per_defect", "notes"}


def test_maps_of_a_crop_are_judged_inside_it(parts):
    widget = load_category("widget", parts)
    frame = Frame(64, 16)  # the middle 16 pixels: all spots reach in, no line does
    maps = AnomalyMaps.of(np.random.default_rng(0).normal(0, 1, (9, 16, 16)), frame)
    report = evaluate(maps, widget.test)
    assert any("2 of 5 defective images have their whole mask outside" in note for note in report.notes)
    assert "crop leaves 71.2% of the marked pixels outside" in str(report)
    assert report.per_defect[0].aupro is None


def test_a_crop_that_cuts_off_almost_nothing_is_not_said_to_leave_0_percent(parts, monkeypatch):
    monkeypatch.setattr("padim_nb.evaluation.report.share_cut_off", lambda samples, frame: 0.0001)
    report = evaluate(np.random.default_rng(0).random((9, 64, 64)), load_category("widget", parts).test)
    assert "the crop leaves less than 0.1% of the marked pixels outside" in str(report)


def test_what_cannot_be_had_is_none_and_told(parts):
    widget = load_category("widget", parts)
    maps = np.random.default_rng(0).normal(0, 1, (9, 64, 64)).astype(np.float32)
    only_good = evaluate(maps[:4], widget.test[:4])
    assert set(only_good.metrics.values()) == {None}
    assert "all are good" in only_good.notes[0]
    only_bad = evaluate(maps[4:], widget.test[4:])
    assert only_bad.metrics["image_auroc"] is None
    assert only_bad.metrics["pixel_auroc"] is not None
    one = evaluate(maps[:1], widget.test[:1])
    assert one.metrics["image_auroc"] is None


def test_bad_maps_are_one_line(parts):
    widget = load_category("widget", parts)
    maps = np.zeros((9, 64, 64), dtype=np.float32)
    maps[3, 5, 5] = np.nan
    with pytest.raises(DataError, match=r"003\.png holds nan"):
        evaluate(maps, widget.test)
    with pytest.raises(OptionError, match=r"\(9 images, height, width\), not \(8, 64, 64\)"):
        evaluate(maps[:8], widget.test)
    with pytest.raises(OptionError, match="finite numbers"):
        evaluate(np.zeros((9, 64, 64)), widget.test, scores=np.zeros(3))


def test_without_test_images_a_report_says_what_is_missing():
    report = evaluate(np.zeros((0, 64, 64)), [])
    assert set(report.metrics.values()) == {None} and report.per_defect == ()
    assert "no test images, so no metrics: put good ones into test/good" in str(report)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_trapezoid_of_the_roc_curve_is_the_auroc(seed, ties):
    g = np.random.default_rng(seed)
    labels = g.random(300) < 0.3
    scores = g.normal(size=300) + 0.3 * labels
    scores = scores.round(0) if ties else scores
    x, y = metrics.roc_curve(scores, labels)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all()
    assert np.trapezoid(y, x) == pytest.approx(metrics.auroc(scores, labels), abs=1e-12)


def test_every_point_of_precision_over_recall_is_that_of_a_threshold():
    g = np.random.default_rng(3)
    labels = g.random(60) < 0.3
    scores = (g.normal(size=60) + labels).round(1)
    recall, precision = metrics.precision_recall(scores, labels)
    assert (np.diff(recall) >= 0).all() and recall[0] == 0 and recall[-1] == 1
    points = {(labels[scores >= t].sum() / labels.sum(), labels[scores >= t].mean()) for t in scores}
    assert {(r, p) for r, p in zip(recall[1:], precision[1:], strict=True)} <= points


@pytest.mark.parametrize("name", ["auroc", "average_precision", "best_f1", "roc_curve", "precision_recall"])
@pytest.mark.parametrize(("labels", "kind"), [(np.zeros(5), "normal"), (np.ones(5), "anomalous"), ([], "normal")])
def test_one_class_is_an_error_in_one_line_and_no_warning(name, labels, kind, recwarn):
    labels = np.asarray(labels)
    with pytest.raises(OptionError, match=f"all {labels.size} labels are {kind}") as error:
        getattr(metrics, name)(np.arange(labels.size) / 2, labels)
    assert "\n" not in str(error.value) and not recwarn.list


def test_aupro_without_a_region_and_scores_of_nan_are_refused():
    with pytest.raises(OptionError, match="all 8 labels are normal"):
        metrics.aupro(np.zeros((2, 2, 2)), np.zeros((2, 2, 2), bool))
    with pytest.raises(OptionError, match="NaN"):
        metrics.auroc(np.array([0, np.nan, 1]), np.array([0, 0, 1]))
    with pytest.raises(OptionError, match="differ in shape"):
        metrics.auroc(np.zeros(3), np.zeros(4))
