"""Networks tapped as in the published tables: shapes, padding, cut after the last tap, features of the whole."""

import pytest
import torch
from efficientnet_pytorch import EfficientNet
from torchvision.models import resnet18

from padim_nb.experiments.recipes import RECIPES
from padim_nb.features.backbones import SPECS, backbone
from padim_nb.features.efficientnet import LAYERS, EfficientNetLayers

GRIDS = {  # at 224 pixels
    "gabor": (56, 28, 14),
    "resnet18": (56, 28, 14),
    "wide_resnet50_2": (56, 28, 14),
    "efficientnet-b5-paper": (56, 14, 14),
    "efficientnet-b7-net1": (14, 14, 7),
    "efficientnet-b7-net2": (28, 14, 7),
    "efficientnet-b7-net3": (14, 7, 7),
}


@pytest.mark.parametrize("name", SPECS)
def test_channels_and_grids_are_those_of_the_tables(name):
    net = backbone(name, "random" if SPECS[name].weights else "")
    with torch.inference_mode():
        taps = net(torch.zeros(1, 3, 224, 224))
    assert tuple(tap.shape[1] for tap in taps) == net.channels
    assert tuple(tap.shape[-1] for tap in taps) == GRIDS.get(name, (56, 28, 14))


@pytest.mark.parametrize("size", [(224, 224), (256, 256), (200, 312)])
def test_outputs_equal_the_whole_efficientnet_built_for_this_size(size):
    torch.manual_seed(0)
    ours = EfficientNetLayers("efficientnet-b4-fst").eval()
    whole = EfficientNet.from_name("efficientnet-b4", image_size=list(size)).eval()
    whole.load_state_dict(ours.state_dict(), strict=False)
    x = torch.randn(1, 3, *size)
    with torch.inference_mode():
        found = ours(x)
        x = whole._swish(whole._bn0(whole._conv_stem(x)))
        wanted = {}
        for number, block in enumerate(whole._blocks[:17]):
            x = block(x)
            wanted[number] = x
    for (number, _), tap in zip(LAYERS["efficientnet-b4-fst"], found, strict=True):
        assert torch.allclose(tap, wanted[number], atol=1e-5)


def test_taps_inside_a_block_are_its_activations():
    net = EfficientNetLayers("efficientnet-b7-net3").eval()
    seen = {}
    block = net._blocks[28]
    block._bn0.register_forward_hook(lambda *args: seen.__setitem__("bn0", args[2]))
    block._bn1.register_forward_hook(lambda *args: seen.__setitem__("bn1", args[2]))
    with torch.inference_mode():
        taps = net(torch.randn(1, 3, 64, 64))
    assert torch.allclose(taps[0], seen["bn1"] * torch.sigmoid(seen["bn1"]), atol=1e-6)


def test_what_comes_after_the_last_tap_is_not_there():
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


def test_normalisation():
    white = torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)
    wanted = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(backbone("resnet18", "random").normalize(white)[0, :, 0, 0], wanted)
    assert torch.equal(backbone("gabor").normalize(white), torch.ones(1, 3, 2, 2))


def test_recipes_name_the_weights_their_backbones_load():
    for name, each in RECIPES.items():
        if not name.startswith("padim"):
            continue
        wanted = SPECS[each.settings.backbone].weights
        nothing = wanted in ("", "noisenet18") or each.settings.weights == "random"
        assert each.needs == ("nothing" if nothing else f"ImageNet weights of {wanted}")
