"""Leave-one-out, groups and full conformal p-values in closed form, held against detectors that are fitted anew."""

from dataclasses import replace
from itertools import accumulate

import numpy as np
import pytest
import reference
import torch
from padim_drawing import LAYOUTS, draw, flat

from padim_nb import load_category
from padim_nb.data.images import Frame
from padim_nb.errors import ModelError
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.gaussian import PatchGaussians
from padim_nb.padim.leave_one_out import conformal_distances, held_out_distances
from padim_nb.padim.low_rank import LowRankGaussians
from padim_nb.padim.moments import Moments
from padim_nb.padim.settings import PaDiMSettings, Selection
from padim_nb.padim.shrinkage import oas

SMALL = PaDiMSettings("gabor", Frame((64, 64)), Selection("random", 20, 0))
FORMS = {
    "multi-resolution": lambda features, eps: PatchGaussians.fit(Moments.from_features(features), eps, torch.float64),
    "low-rank": lambda features, eps: LowRankGaussians.fit(features, eps, torch.float64),
    "dense": lambda features, eps: PatchGaussians.fit(Moments.from_features(features), eps, torch.float64),
}
GROUPS = {"alone": lambda n: [1] * n, "of 1 to 6": lambda n: ([6, 1, 3, 2, 1, 4, 5] * n)[: max(1, n // 4)]}


def small(**changes) -> PaDiM:
    return PaDiM.from_settings(replace(SMALL, **changes), "cpu")


def refitted(train, groups, eps):
    """Distances (n, positions) of each group by Gaussians fitted to the other images, with the same rho."""
    vectors, n = flat(train), len(train[0])
    distances = []
    for end, size in zip(accumulate(groups), groups, strict=True):
        own = np.arange(end - size, end)
        rest = np.delete(vectors, own, axis=0)
        distances.append(reference.distances(rest, vectors[own], eps * (n - 1) / (n - size - 1)))
    return np.concatenate(distances)


def error(distances, wanted):
    return np.abs(distances.flatten(1).double().numpy() - wanted).max() / wanted.max()


@pytest.mark.parametrize("eps", [1e-4, 0.01, 10.0])
@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("n", [3, 9, 60, 250])
@pytest.mark.parametrize("form", FORMS)
def test_images_left_out_have_the_distances_of_a_fit_without_them(form, n, groups, eps):
    layout = LAYOUTS["one layer" if form == "dense" else "three layers" if n == 250 else "more channels than images"]
    train = draw(layout, n)
    sizes = groups(n) if n > 3 else [1] * 3
    sizes += [1] * (n - sum(sizes))
    gaussians = FORMS[form](train, eps)
    distances = held_out_distances(gaussians.whitened(train), gaussians.grids, sizes, n)
    assert error(distances, refitted(train, sizes, eps)) < 1e-6


@pytest.mark.parametrize("eps", [1e-4, 0.01, 10.0])
@pytest.mark.parametrize("layout", ["three layers", "more channels than images", "one layer"])
@pytest.mark.parametrize("groups", [[1] * 11, [3, 2, 1, 4, 1]])
def test_a_new_image_among_the_others_is_held_out_as_each_of_them_is(groups, layout, eps):
    images = draw(LAYOUTS[layout], 13)
    train, new = ([layer[rows] for layer in images] for rows in (slice(11), slice(11, 13)))
    distances = conformal_distances(train, new, eps, groups)
    for k in range(2):
        together = [torch.cat([own, other[k : k + 1]]) for own, other in zip(train, new, strict=True)]
        assert error(distances[k], refitted(together, [*groups, 1], eps)) < 1e-6


def test_what_is_added_to_the_variances_is_computed_of_the_new_image_too():
    images = draw(LAYOUTS["three layers"], 9, scale=0.3)
    train, new = ([layer[rows] for layer in images] for rows in (slice(8), slice(8, 9)))
    distances = conformal_distances(train, new, "oas")
    assert error(distances[0], refitted(images, [1] * 9, oas(images))) < 1e-5


def test_p_values_are_uniform_ranks_of_exchangeable_images():
    """Of ten images, each in turn the new one among the other nine, exactly one has each rank."""
    images = draw(LAYOUTS["three layers"], 10)
    ranks = []
    for k in range(10):
        rest = [i for i in range(10) if i != k]
        (distances,) = conformal_distances([x[rest] for x in images], [x[k : k + 1] for x in images], "oas")
        scores = distances.amax((1, 2))
        ranks.append(int((scores >= scores[-1]).sum()))
    assert sorted(ranks) == list(range(1, 11))


@pytest.mark.parametrize("form", ["multi-resolution", "low-rank", "dense"])
def test_a_detector_judges_its_own_images_without_themselves_and_others_as_they_are(form, parts):
    widget = load_category("widget", parts)
    train, new = list(widget.train), [sample for sample in widget.test if not sample.label]
    detector = small(form=form).fit(train)
    maps = detector.leave_one_out([*new, *train[::-1]])
    assert maps[: len(new)].maps == pytest.approx(detector.score(new).maps, rel=1e-4)
    n = len(train)
    for k, sample in enumerate(train[::-1]):
        others = [other for other in train if other is not sample]
        apart = small(form=form, eps=detector.settings.eps * (n - 1) / (n - 2)).fit(others).score([sample])
        assert maps[len(new) + k] == pytest.approx(apart[0], abs=1e-4 * float(apart[0].max()))
    assert detector.held_out_scores([*new, *train[::-1]]) == pytest.approx(maps.scores)
    assert detector.calibrate(train, 0.1) == small(form=form).fit(train, 0.1).threshold_


def test_any_number_of_threads_gives_the_same_bits(parts):
    train, before, values = load_category("widget", parts).train, torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        detector = small(eps="oas").fit(train[:9])
        values.append((detector.held_out_scores(train[:9]), detector.p_values(train[9:])))
    torch.set_num_threads(before)
    assert all(np.array_equal(own, other) for value in values for own, other in zip(value, values[0], strict=True))


def grouped(samples, size):
    return [replace(sample, group=f"part {k // size}") for k, sample in enumerate(samples)]


def test_photographs_of_one_part_are_left_out_together(parts):
    train = grouped(load_category("widget", parts).train, 3)
    shuffled = [train[k] for k in np.random.default_rng(0).permutation(len(train))]
    detector = small().fit(shuffled, 0.05)
    scores = detector.held_out_scores(train)
    for k in range(0, 12, 3):
        apart = small(eps=0.01 * 11 / 8).fit(train[:k] + train[k + 3 :]).score(train[k : k + 3]).scores
        assert scores[k : k + 3] == pytest.approx(apart, rel=1e-4)
    threshold = detector.threshold_
    assert (threshold.images, threshold.groups, threshold.attained) == (12, 4, 0.2)
    assert threshold.value == pytest.approx(scores.max(), rel=1e-6)
    with pytest.raises(ModelError, match="a group of 3 images is left out as a whole, 2 of them are given"):
        detector.held_out_scores(train[1:])
    p = detector.p_values(load_category("widget", parts).test)
    assert p.min() >= 1 / 5 and (p[4:] == 1 / 5).all()


def test_a_group_that_leaves_too_few_others_is_refused_before_anything_is_forgotten(parts):
    train = load_category("widget", parts).train
    detector = small().fit(train, 0.2)
    threshold = detector.threshold_
    for size in (12, 11):
        with pytest.raises(ModelError, match=f"leaving out a group of {size} of 12 good images leaves too few"):
            detector.fit([replace(s, group="one") for s in train[:size]] + list(train[size:]), 0.2)
    assert detector.threshold_ == threshold and detector.count == 12


def test_p_values_are_saved_with_few_images_and_refused_without(parts, tmp_path, monkeypatch):
    widget = load_category("widget", parts)
    detector = small().fit(widget.train)
    p = detector.p_values(widget.test)
    assert (p[4:] == 1 / 13).all() and (p[:4] > 1 / 13).any()
    again = PaDiM.load(detector.save(tmp_path / "few.safetensors"), device="cpu")
    assert again.has_p_values and np.array_equal(again.p_values(widget.test), p)
    with pytest.raises(ModelError, match="for detectors fitted on 3 to 100 images, this one was on 2"):
        small().fit(widget.train[:2]).p_values(widget.test)
    monkeypatch.setattr("padim_nb.padim.detector.KEPT_IMAGES", 10)
    again = PaDiM.load(detector.save(tmp_path / "many.safetensors"), device="cpu")
    with pytest.raises(ModelError, match="use its threshold"):
        again.p_values(widget.test)
    assert len(again.p_values([])) == 0


def test_identical_images_and_images_that_are_given_twice(parts):
    train = load_category("widget", parts).train
    detector = small().fit([train[0]] * 5, 0.2)
    assert detector.threshold_.value < 1e-2
    assert detector.p_values([train[0]]) == pytest.approx([1.0])
    twice = small().fit([*train, train[0]])
    assert len(twice.held_out_scores([*train, train[0]])) == 13


def test_many_images_are_judged_a_part_at_a_time(parts, monkeypatch):
    train = grouped(load_category("widget", parts).train, 3)
    whole = small().fit(train).held_out_scores(train)
    monkeypatch.setattr("padim_nb.padim.detector.IN_MEMORY", 5)
    detector = small().fit(train, 0.2)
    assert detector.held_out_scores(train) == pytest.approx(whole, rel=1e-6)
    assert detector.threshold_.groups == 4


def test_an_image_score_may_be_the_mean_of_the_largest_values(parts):
    widget = load_category("widget", parts)
    maps = small(score=0.01).fit(widget.train).score(widget.test)
    largest = np.sort(maps.maps.reshape(len(maps), -1), axis=1)[:, -41:]
    assert maps.scores == pytest.approx(largest.mean(1), rel=1e-5)
