"""The forms of the Gaussians: all exact, saved whole or refused, the cheaper one chosen."""

import pytest
import torch
from padim_drawing import LAYOUTS, draw, largest_error

from padim_nb.errors import ModelError
from padim_nb.padim.gaussian import PatchGaussians
from padim_nb.padim.low_rank import LowRankGaussians, is_cheaper
from padim_nb.padim.moments import Moments
from padim_nb.padim.statistics import Statistics, read_gaussians

every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
FORMS = {
    "multi-resolution": lambda features: PatchGaussians.fit(Moments.from_features(features)),
    "low-rank": LowRankGaussians.fit,
}
every_form = pytest.mark.parametrize("fit", FORMS.values(), ids=FORMS)


@every_form
@every_layout
@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0, 50.0, 1000.0])
def test_distances_equal_the_dense_float64_ones_at_any_scale_of_the_features(layout, fit, scale):
    train, test = draw(layout, 12, 0, scale), draw(layout, 4, 1, scale)
    test = [torch.cat([new, old[:2]]) for new, old in zip(test, train, strict=True)]
    assert largest_error(fit(train), train, test) < 1e-4


@pytest.mark.parametrize("scale", [1.0, 10.0, 50.0, 1000.0])
def test_sums_too_large_for_float64_are_float64_where_features_are_large(scale, monkeypatch):
    monkeypatch.setattr("padim_nb.padim.moments.DOUBLE_UP_TO", 0)
    train, test = draw(LAYOUTS["three layers"], 12, 0, scale), draw(LAYOUTS["three layers"], 4, 1, scale)
    assert largest_error(FORMS["multi-resolution"](train), train, test) < 1e-4
    small = draw(LAYOUTS["three layers"], 4, 0, 0.1)
    assert Moments.from_features(small).mean[0].dtype == torch.float32


@every_form
def test_a_constant_feature_is_at_distance_zero_from_its_mean(fit):
    train = [torch.ones(5, 3, 2, 2)]
    fitted = fit(train)
    assert torch.equal(fitted.distances(train), torch.zeros(5, 2, 2))
    off = fitted.distances([torch.ones(1, 3, 2, 2) + 0.1])
    assert torch.allclose(off, torch.tensor((3 * 0.01 / 0.01) ** 0.5))


@every_form
def test_fitting_and_scoring_change_nothing_that_is_passed_in(fit):
    train, test = draw(LAYOUTS["three layers"], 12), draw(LAYOUTS["three layers"], 4, 1)
    copies = [layer.clone() for layer in (*train, *test)]
    fit(train).distances(test)
    assert all(torch.equal(a, b) for a, b in zip((*train, *test), copies, strict=True))


@every_form
def test_a_single_image_and_nan_are_refused(fit):
    with pytest.raises(ModelError, match="at least 2 good images, not 1"):
        fit(draw(LAYOUTS["three layers"], 1))
    bad = draw(LAYOUTS["one layer"], 4)
    bad[0][0, 0, 0, 0] = float("nan")
    with pytest.raises(ModelError, match="not positive definite"):
        fit(bad)


@every_form
def test_any_number_of_threads_gives_the_same_bits(fit):
    train, before = draw(LAYOUTS["many cells"], 9), torch.get_num_threads()
    fitted = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        fitted.append(fit(train).tensors())
    torch.set_num_threads(before)
    assert all(torch.equal(tensor, other[name]) for other in fitted for name, tensor in fitted[0].items())


@every_form
@every_layout
def test_tensors_are_read_back_whole_or_refused(layout, fit):
    fitted, test = fit(draw(layout, 9)), draw(layout, 4, seed=1)
    tensors = fitted.tensors()
    again = read_gaussians(tensors, fitted.grids, "cpu")
    assert torch.equal(again.distances(test), fitted.distances(test))
    for name, tensor in tensors.items():
        if tensor.numel():
            with pytest.raises((KeyError, ValueError)):
                read_gaussians({key: tensors[key] for key in tensors if key != name}, fitted.grids, "cpu")
        for broken in (tensor[1:], tensor[..., 1:], tensor.long()):
            if tensor.numel() and not name.startswith("mean"):  # a mean of fewer channels: another model's
                with pytest.raises((KeyError, ValueError)):
                    read_gaussians(tensors | {name: broken}, fitted.grids, "cpu")


def test_low_rank_is_cheaper_for_few_images_and_many_channels_only():
    net1 = [torch.empty(1, 500, 7, 7), torch.empty(1, 500, 14, 14)]
    r18 = [torch.empty(1, 59, 14, 14), torch.empty(1, 23, 28, 28), torch.empty(1, 18, 56, 56)]
    assert is_cheaper(net1, 60)
    assert not is_cheaper(net1, 2000)
    assert not is_cheaper(r18, 60), "its sums are small enough for float64"
    wr50 = [torch.empty(1, 314, 14, 14), torch.empty(1, 154, 28, 28), torch.empty(1, 82, 56, 56)]
    assert is_cheaper(wr50, 209)
    assert not is_cheaper(wr50, 390), "fewer operations, but more numbers to keep"
    assert not is_cheaper(wr50, 2000)


def test_coarse_blocks_are_shared():
    gaussians = PatchGaussians.fit(Moments.from_features(draw(((59, 14, 14), (23, 28, 28), (18, 56, 56)), 4)))
    assert gaussians.bytes < 56 * 56 * 100 * 100 * 4 / 3.5


@pytest.mark.parametrize("form", ["multi-resolution", "low-rank", "auto"])
@pytest.mark.parametrize("own", ["multi-resolution", "low-rank"])
def test_statistics_are_merged_whatever_their_form_and_the_other_is_not_changed(form, own):
    layout = LAYOUTS["more channels than images"]
    train, test = draw(layout, 12), draw(layout, 4, seed=1)
    first, second = Statistics(form), Statistics(own)
    first.add([layer[:5] for layer in train], 12)
    second.add([layer[5:] for layer in train], 12)
    before = second.gaussians(0.01).distances(test)
    first.merge(second)
    assert (first.count, second.count) == (12, 7)
    assert torch.equal(second.gaussians(0.01).distances(test), before)
    assert largest_error(first.gaussians(0.01), train, test) < 1e-4
    empty = Statistics(form)
    empty.merge(second)
    empty.add([layer[:5] for layer in train], 12)
    assert torch.equal(second.gaussians(0.01).distances(test), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("form", ["multi-resolution", "low-rank"])
def test_statistics_of_two_devices_are_merged(form):
    train, test = draw(LAYOUTS["three layers"], 12), draw(LAYOUTS["three layers"], 4, seed=1)
    for devices in (("cpu", "cuda"), ("cuda", "cpu")):
        parts = [Statistics(form), Statistics(form)]
        for part, device, rows in zip(parts, devices, (slice(5), slice(5, None)), strict=True):
            part.add([layer[rows].to(device) for layer in train], 12)
        whole = Statistics(form)
        for part in parts:
            whole.merge(part, "cpu")
        assert largest_error(whole.gaussians(0.01), train, test) < 1e-4
