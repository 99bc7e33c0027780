"""Convolutions by tiles against torch's own, values and gradients; when they are used, and how they round."""

import warnings

import pytest
import torch
from torch.nn.functional import conv2d

from padim_nb.efficientad import winograd

# kernel, padding, height, width: whole tiles and not, fewer outputs than one tile, wider than high
SHAPES = ((3, 0, 20, 31), (3, 1, 14, 16), (3, 1, 4, 5), (4, 0, 24, 17), (4, 2, 19, 18), (4, 3, 30, 29), (4, 0, 4, 4))


def example(kernel, height, width, dtype=torch.float64, channels=5, filters=7, images=2):
    g = torch.Generator().manual_seed(kernel + height)
    x = torch.randn(images, channels, height, width, generator=g, dtype=dtype)
    weight = torch.randn(filters, channels, kernel, kernel, generator=g, dtype=dtype) / kernel
    return x, weight, torch.randn(filters, generator=g, dtype=dtype)


def gradients(way, parts, padding):
    parts = [part.clone().requires_grad_() for part in parts]
    found = way(*parts, padding=padding)
    slope = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=found.dtype)
    return torch.autograd.grad(found, parts, slope)


@pytest.mark.parametrize("tiles", [3, 400])
@pytest.mark.parametrize(("kernel", "padding", "height", "width"), SHAPES)
def test_values_and_gradients_are_those_of_the_sum_as_it_is_written(kernel, padding, height, width, tiles, monkeypatch):
    monkeypatch.setattr(winograd, "TILES", tiles)  # several blocks of rows, or one
    parts = example(kernel, height, width)
    found = winograd.conv2d(*parts, padding=padding)
    torch.testing.assert_close(found, conv2d(*parts, padding=padding), rtol=0, atol=1e-12)
    assert found.is_contiguous(memory_format=torch.channels_last)
    wanted = gradients(conv2d, parts, padding)
    for one, other in zip(gradients(winograd.conv2d, parts, padding), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_any_layout_is_read_and_the_inputs_stay_as_they_are(layout):
    parts = example(4, 24, 24)
    given = [part.to(memory_format=layout) if part.dim() == 4 else part for part in parts]
    found = winograd.conv2d(given[0][:, :, 1:, 2:], *given[1:])
    torch.testing.assert_close(found, conv2d(parts[0][:, :, 1:, 2:], *parts[1:]), rtol=0, atol=1e-12)
    assert all(torch.equal(one, other) for one, other in zip(parts, given, strict=True))
    weight = given[1].clone(memory_format=torch.preserve_format).requires_grad_()
    winograd.conv2d(given[0], weight, given[2]).sum().backward()
    assert weight.grad.stride() == weight.stride()  # an optimiser that joins parameters asks for it


@pytest.mark.parametrize("kernel", [3, 4])
def test_it_rounds_in_the_sixth_digit_at_most(kernel):
    x, weight, bias = example(kernel, 40, 40, torch.float32, channels=128, filters=128, images=1)
    exact = conv2d(x.double(), weight.double(), bias.double())
    off = (winograd.conv2d(x, weight, bias) - exact).square().mean().sqrt()
    assert off < 3e-6 * exact.square().mean().sqrt()  # the plain sum: 1e-6


def test_one_and_two_threads_give_the_same_bits():
    parts = example(4, 60, 60, torch.float32, channels=64, filters=96)
    threads = torch.get_num_threads()
    found = []
    for number in (1, 2):
        torch.set_num_threads(number)
        found.append((winograd.conv2d(*parts), *gradients(winograd.conv2d, parts, 0)))
    torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_where_it_is_faster():
    x, weight, _ = example(4, 60, 60, torch.float32, channels=64, filters=64)
    assert winograd.is_faster(x, weight)
    assert winograd.is_faster(x, weight[..., :3, :3], padding=1)
    assert not winograd.is_faster(x.double(), weight.double())
    assert not winograd.is_faster(x, weight[:, :, :2, :2])
    assert not winograd.is_faster(x[:, :3], weight[:, :3]), "an image has three channels: nothing to save"
    assert not winograd.is_faster(x[..., :16, :16], weight), "sixteen tiles"
    assert not winograd.is_faster(x[..., :2, :2], weight), "nothing to compute: torch says so itself"
    assert not winograd.is_faster(x.to("meta"), weight.to("meta")), "another device has its own ways"
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd.is_faster(x, weight)


def test_a_traced_graph_keeps_the_plain_operator():
    x, weight, bias = example(4, 60, 60, torch.float32, channels=64, filters=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer versions of torch call tracing deprecated
        traced = torch.jit.trace(lambda x: winograd.convolved(x, weight, bias), (x,), check_trace=False)
    assert "aten::_convolution" in str(traced.graph) and "PythonOp" not in str(traced.graph)
