"""A fit in parts, on a cluster that is this process: what the parts are, what crosses, what is refused."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from padim_nb import load_category
from padim_nb.data.images import Frame
from padim_nb.errors import OptionError
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.distributed import fit_sharded, merged
from padim_nb.padim.settings import PaDiMSettings, Selection

SMALL = PaDiMSettings("gabor", Frame((64, 64)), Selection("random", 20, 0))


class Done:
    """A computation that has been done, as it comes back from another machine."""

    def __init__(self, value):
        self.bytes = pickle.dumps(value)

    def result(self):
        return pickle.loads(self.bytes)


class Here:
    """The part of a Dask client that `fit_sharded` uses."""

    def __init__(self):
        self.sizes = []

    def scheduler_info(self):
        return {"workers": {"one": 1, "two": 2}}

    def map(self, function, values, pure, **options):
        return [self.submit(function, value, pure=pure, **options) for value in values]

    def submit(self, function, *values, pure, **options):
        values = [value.result() if isinstance(value, Done) else value for value in values]
        done = Done(function(*values, **options))
        self.sizes.append(len(done.bytes))
        return done


@pytest.mark.parametrize("form", ["auto", "multi-resolution", "low-rank", "dense"])
@pytest.mark.parametrize("shards", [0, 1, 5])
def test_a_fit_in_parts_is_the_single_fit(form, shards, parts):
    widget = load_category("widget", parts)
    settings = replace(SMALL, form=form)
    single = PaDiM.from_settings(settings, "cpu").fit(widget.train)
    sharded = fit_sharded(PaDiM.from_settings(settings, "cpu"), widget.train, Here(), shards, "cpu")
    assert sharded.count == len(widget.train)
    assert sharded.facts == single.facts
    maps = single.score(widget.test).maps
    assert np.abs(sharded.score(widget.test).maps - maps).max() < 1e-5 * maps.max()


def test_a_fit_in_parts_leaves_the_last_batch_out_where_the_recipe_does(parts):
    samples = load_category("widget", parts).train * 3  # 36
    settings = replace(SMALL, quirks=("last batch left out",))
    single = PaDiM.from_settings(settings, "cpu").fit(samples)
    sharded = fit_sharded(PaDiM.from_settings(settings, "cpu"), samples, Here(), 2, "cpu")
    assert single.count == sharded.count == 32


def test_what_crosses_does_not_grow_with_the_images_unless_the_form_is_low_rank(parts, monkeypatch):
    monkeypatch.setattr("padim_nb.padim.statistics.KEPT_IMAGES", 3)  # features of more are summed up
    train = load_category("widget", parts).train
    sizes = {}
    for form in ("multi-resolution", "low-rank"):
        for count in (4, 12):
            client = Here()
            fit_sharded(PaDiM.from_settings(replace(SMALL, form=form), "cpu"), train[:count], client, 2, "cpu")
            sizes[form, count] = max(client.sizes)
    fingerprints = 2 * 8 * (12 - 4)
    assert sizes["multi-resolution", 12] - fingerprints == pytest.approx(sizes["multi-resolution", 4], abs=100)
    assert sizes["low-rank", 12] > 2 * sizes["low-rank", 4]


def test_the_number_of_all_images_decides_the_form_of_each_part(parts):
    widget = load_category("widget", parts)
    settings = replace(SMALL, selection=Selection("all"))
    client = Here()
    fit_sharded(PaDiM.from_settings(settings, "cpu"), widget.train * 2, client, 12, "cpu")
    alone = PaDiM.from_settings(settings, "cpu").partial_fit(widget.train[:2])
    assert alone.statistics_.features is not None, "two images alone take the low-rank form"
    part = PaDiM.from_settings(settings, "cpu").partial_fit(widget.train[:2], 240)
    assert part.statistics_.moments is not None


def test_parts_of_other_images_or_weights_are_refused(parts):
    samples = load_category("widget", parts).train
    statistics = PaDiM.from_settings(SMALL, "cpu").partial_fit(samples).statistics_
    with pytest.raises(OptionError, match="cannot be merged"):
        merged((statistics, (64, 64), "a"), (statistics, (64, 64), "b"), SMALL)
    with pytest.raises(OptionError, match="cannot be merged"):
        merged((statistics, (64, 64), "a"), (statistics, (64, 32), "a"), SMALL)


def test_a_fit_in_parts_that_is_refused_leaves_the_earlier_one(parts, monkeypatch):
    samples = load_category("widget", parts).train
    detector = PaDiM.from_settings(SMALL, "cpu").fit(samples)
    before = detector.score(samples[:2]).scores
    monkeypatch.setitem(detector.backbone.weights, "sha256", "other")
    with pytest.raises(OptionError, match="the workers have other weights"):
        fit_sharded(detector, samples, Here(), 2, "cpu")
    assert np.array_equal(detector.score(samples[:2]).scores, before)
