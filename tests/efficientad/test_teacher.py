"""What is shipped as weights: small, whole, described by its card, refused when damaged."""

import shutil
from pathlib import Path

import pytest
import torch

from padim_nb.efficientad import cards
from padim_nb.efficientad.teacher import load_teacher
from padim_nb.errors import OptionError, WeightsError
from padim_nb.features.backbones import backbone
from padim_nb.util.files import sha256

NAMES = ("noisenet18", "pdn-small")


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_how_it_was_made_and_is_right_about_the_file(name):
    card = cards.card(name)
    path = cards.shipped(name)
    assert card["sha256"] == sha256(path)
    assert path.stat().st_size <= 6_000_000
    for key in ("seed", "steps", "minutes", "bank", "loss curve", "made", "machine") if name == "noisenet18" else (
        "seed", "steps", "minutes", "source", "taught by", "loss curve", "made", "machine",
    ):  # fmt: skip
        assert card[key] or key == "seed"
    losses = [loss for _, loss in card["loss curve"]]
    assert sum(losses[-3:]) < sum(losses[:3])


def test_the_teacher_was_taught_by_the_shipped_backbone():
    assert cards.card("pdn-small")["taught by"]["sha256"] == cards.card("noisenet18")["sha256"]


def test_all_that_is_shipped_stays_small():
    folder = Path(cards.ASSETS)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 16_000_000
    assert not list(folder.rglob("*.p*kl")) + list(folder.rglob("*.pth"))


def test_the_shipped_backbone_sees_and_the_shipped_teacher_describes():
    net = backbone("noisenet18")
    assert net.weights == {"name": "noisenet18.safetensors", "sha256": cards.card("noisenet18")["sha256"]}
    with torch.inference_mode():
        taps = net(torch.rand(1, 3, 64, 64))
    assert all(torch.isfinite(tap).all() and tap.std() > 0.05 for tap in taps)
    teacher, weights = load_teacher("small", "shipped")
    with torch.inference_mode():
        assert teacher(torch.rand(1, 3, 256, 256)).std() > 0.1
    assert weights["sha256"] == cards.card("pdn-small")["sha256"]


def test_damaged_or_missing_weights_are_refused(tmp_path, monkeypatch):
    for suffix in (".safetensors", ".json"):
        shutil.copy(cards.ASSETS / f"noisenet18{suffix}", tmp_path)
    monkeypatch.setattr(cards, "ASSETS", tmp_path)
    backbone("noisenet18")
    path = tmp_path / "noisenet18.safetensors"
    whole = bytearray(path.read_bytes())
    whole[-100] ^= 1
    path.write_bytes(whole)
    with pytest.raises(WeightsError, match="is damaged"):
        backbone("noisenet18")
    path.unlink()
    with pytest.raises(WeightsError, match="not part of this installation"):
        backbone("noisenet18")
    with pytest.raises(OptionError, match="no imagenet weights"):
        backbone("noisenet18", "imagenet")
    with pytest.raises(OptionError, match="no shipped weights"):
        backbone("resnet18", "shipped")
