"""What is added to the variances by rule: scikit-learn's numbers, the same by every way to them."""

import numpy as np
import pytest
import sklearn.covariance
import torch
from padim_drawing import LAYOUTS, draw, flat
from sklearn.covariance import OAS

from padim_nb import load_category, recipe
from padim_nb.errors import ModelError
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.moments import Moments
from padim_nb.padim.shrinkage import LARGEST_SHARE, SMALLEST, oas, share
from padim_nb.padim.statistics import Statistics


def of_scikit_learn(features) -> float:
    """The median over all patches, one whole vector after the other; its covariance divides by n, ours by n - 1."""
    added = []
    for place in flat(features).transpose(2, 0, 1):
        share = OAS().fit(place).shrinkage_
        added.append(share / (1 - share) * place.var(0, ddof=1).mean())
    return float(np.sort(added)[(len(added) - 1) // 2])


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("images", [3, 12, 60])
def test_moments_and_features_give_what_scikit_learn_does(layout, images):
    features = draw(layout, images, 0, 3.0)
    wanted = of_scikit_learn(features)
    assert wanted > SMALLEST
    assert oas(features) == pytest.approx(wanted, rel=1e-4)
    assert oas(Moments.from_features(features)) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(("n", "d"), [(5, 40), (40, 30), (200, 30), (4, 2), (30, 1), (4000, 50)])
@pytest.mark.parametrize("scales", ["alike", "apart"])
def test_the_share_is_that_of_scikit_learn_with_its_bound(n, d, scales):
    x = np.random.default_rng(0).normal(size=(n, d)) * (1.0 if scales == "alike" else np.arange(1, d + 1))
    covariance = np.atleast_2d(np.cov(x, rowvar=False))
    trace, square = (torch.tensor([value]) for value in (np.trace(covariance), (covariance**2).sum()))
    assert float(share(trace, square, n, d)) == pytest.approx(sklearn.covariance.oas(x)[1])


def test_where_the_share_is_1_what_is_added_stays_finite():
    x = np.random.default_rng(0).normal(size=(4000, 50))
    assert sklearn.covariance.oas(x)[1] == 1.0
    wanted = LARGEST_SHARE / (1 - LARGEST_SHARE) * x.var(0, ddof=1).mean()
    assert oas(Moments.from_features([torch.from_numpy(x).float()[..., None, None]])) == pytest.approx(wanted, rel=1e-4)


def test_what_never_changes_keeps_the_smallest_variance_and_one_image_is_too_few():
    assert oas([torch.ones(5, 3, 2, 2)]) == SMALLEST
    with pytest.raises(ModelError, match="at least 2 good images"):
        oas(draw(LAYOUTS["three layers"], 1))


def test_more_images_than_dimensions_do_no_harm():
    """Near n = d the smallest variances of a covariance are far too small: good patches look odd by chance."""
    layout = [(40, 2, 2)]
    new = draw(layout, 200, 1)

    def spread(images: int, eps: float | str) -> float:
        statistics = Statistics()
        statistics.add(draw(layout, images, 0), np.arange(images), np.zeros(images, np.int64), images)
        return float(statistics.gaussians(statistics.eps(eps)).distances(new).max())

    assert spread(44, "oas") < spread(400, "oas") * 2 < spread(44, 0.01)


def test_the_default_recipe_reads_it_off_its_images_and_keeps_it_in_the_file(parts, tmp_path):
    widget = load_category("widget", parts)
    detector = recipe("padim-lite0", device="cpu").fit(widget.train)
    assert detector.settings.eps == "oas"
    assert detector.facts["eps"] == detector.eps_ == oas(detector.features(widget.train))
    again = PaDiM.load(detector.save(tmp_path / "model.safetensors"), device="cpu")
    assert again.eps_ == detector.eps_
    assert np.array_equal(again.score(widget.test).maps, detector.score(widget.test).maps)
    fewer = detector.fit(widget.train[:5]).eps_
    assert fewer != again.eps_
