"""EfficientNet-Lite through ONNX Runtime: equal to torch, of the same weights, and only where it can be."""

import copy
import pickle
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import numpy as np
import pytest
import torch

from padim_nb.experiments.recipes import RECIPES
from padim_nb.features import onnx_runtime
from padim_nb.features.backbones import backbone
from padim_nb.features.onnx_runtime import session
from padim_nb.padim.detector import PaDiM

pytest.importorskip("onnxruntime")
TOLERANCE = 1e-4  # of the largest feature


def images(count, height=64, width=64, seed=0):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def expect_equal(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert (a - b).abs().max() <= TOLERANCE * b.abs().max()


@pytest.fixture
def net(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.delenv("PADIM_NB_FEATURES", raising=False)
    return backbone("efficientnet-lite0", "random")


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite2", "efficientnet-lite0-expanded"])
@pytest.mark.parametrize(("count", "height", "width"), [(1, 256, 256), (7, 97, 131), (32, 40, 63)])
def test_features_are_those_of_torch(name, count, height, width, net):
    net, x = backbone(name, "random"), images(count, height, width)
    assert session(net._folded, x) is not None
    with torch.inference_mode():
        expect_equal(net.infer(x.contiguous(memory_format=torch.channels_last)), net(x))


def test_threads_that_ask_at_once_share_one_session(net, monkeypatch):
    built, build = [], onnx_runtime._build
    monkeypatch.setattr(onnx_runtime, "_build", lambda network: built.append(network) or build(network))
    x, barrier = images(1), Barrier(8)

    def ask(_):
        barrier.wait()
        return net.infer(x)

    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(ask, range(8))
    assert len(built) == 1
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


def test_features_of_the_published_weights_are_those_of_torch(net):
    net = backbone("efficientnet-lite0")
    x = net.normalize(torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 128, 96, 3), dtype=np.uint8)))
    with torch.inference_mode():
        expect_equal(net.infer(x), net(x))


def test_an_image_has_the_same_features_in_any_batch(net):
    x = images(7, 97, 131)
    whole = net.infer(x)
    for number in range(7):
        assert all(torch.equal(a[number], b[0]) for a, b in zip(whole, net.infer(x[number : number + 1]), strict=True))


def test_padim_computes_with_it_and_with_torch_alike(net, monkeypatch):
    settings = replace(RECIPES["padim-lite0"].settings, weights="random")
    framed = np.random.default_rng(0).integers(0, 256, (9, 256, 256, 3), dtype=np.uint8)
    detector, built = PaDiM.from_settings(settings, "cpu"), []
    build = onnx_runtime._build
    monkeypatch.setattr(onnx_runtime, "_build", lambda network: built.append(network) or build(network))
    fast = detector.extract(framed)
    assert built
    monkeypatch.setenv("PADIM_NB_FEATURES", "torch")
    expect_equal(fast, detector.extract(framed))


def test_features_have_the_same_bits_with_any_number_of_threads(net):
    settings = replace(RECIPES["padim-lite0"].settings, weights="random")
    framed = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    detector, before = PaDiM.from_settings(settings, "cpu"), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(detector.extract(framed))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_extra_torch_computes(missing, net, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    x = images(2)
    assert session(net._folded, x) is None
    channels_last = x.contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(a, b) for a, b in zip(net.infer(x), net(channels_last), strict=True))


def test_torch_computes_where_the_switch_or_the_processor_says_so(net, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(platform, "machine", lambda: "arm64")
        assert session(net._folded, images(1)) is None
    assert session(net._folded, images(1)) is not None
    monkeypatch.setenv("PADIM_NB_FEATURES", "torch")
    assert session(net._folded, images(1)) is None


def test_torch_computes_on_other_devices_in_other_precisions_and_other_networks(net, monkeypatch):
    assert session(net._folded, images(1).to("meta")) is None
    assert session(net._folded, images(1).double()) is None
    assert session(copy.deepcopy(net).double()._folded, images(1)) is None
    assert session(copy.deepcopy(net).to(torch.bfloat16)._folded, images(1).to(torch.bfloat16)) is None
    monkeypatch.setattr(onnx_runtime, "_build", lambda network: pytest.fail("built for another network"))
    for name in ("resnet18", "efficientnet-b0-lst", "gabor"):
        other = backbone(name, "" if name == "gabor" else "random")
        with torch.inference_mode():
            assert all(map(torch.isfinite, (layer.sum() for layer in other.infer(images(1)))))


def test_changed_weights_are_never_those_of_before(net):
    x, other = images(2), backbone("efficientnet-lite0", "random", seed=1)
    before = [layer.clone() for layer in net.infer(x)]
    net.load_state_dict(other.state_dict())
    expect_equal(net.infer(x), other(x))
    assert not torch.allclose(net.infer(x)[0], before[0])
    with torch.no_grad():
        next(net._folded.parameters()).mul_(0.5)
    expect_equal(net.infer(x), net(x))
    net.double().float()  # tensors in another place
    expect_equal(net.infer(x), net(x))
    with torch.no_grad():
        next(net.network.parameters()).zero_()  # neither way computes with it: see Backbone
    expect_equal(net.infer(x), net(x))


def test_a_network_that_was_used_can_be_copied_and_pickled(net):
    x = images(1)
    wanted = net.infer(x)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert all(torch.equal(a, b) for a, b in zip(other.infer(x), wanted, strict=True))


def test_torch_computes_with_weights_whose_changes_are_not_counted(net):
    with torch.inference_mode():
        made = backbone("efficientnet-lite0", "random")
        assert session(made._folded, images(1)) is None
        expect_equal(made.infer(images(1)), net(images(1)))


def test_an_unknown_layer_is_refused(net):
    with pytest.raises(TypeError, match="no ONNX node"):
        onnx_runtime._build(backbone("resnet18", "random").network)
