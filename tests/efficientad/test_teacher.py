"""Teachers: the shipped one is whole, small, true to its card, and refused when damaged; others by name or file."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_training import fresh, teacher_in

from padim_nb.efficientad import cards
from padim_nb.efficientad.teacher import load_teacher, standardized
from padim_nb.errors import WeightsError
from padim_nb.features.backbones import backbone, normalized
from padim_nb.util.files import cache_root, sha256


def test_the_card_says_how_it_was_made_and_is_right_about_the_file():
    card, path = cards.card("pdn-small"), cards.shipped("pdn-small")
    assert card["sha256"] == sha256(path)
    assert path.stat().st_size <= 6_000_000
    assert all(card[key] for key in ("steps", "minutes", "source", "taught by", "loss curve", "made", "machine"))
    assert card["command"].startswith("padim-nb distill ")
    assert card["taught by"] == backbone("efficientnet-lite0").weights
    assert all(0 < loss < 1 for loss in card["held-out loss"].values()), "1 is the loss of a constant"
    first = card["start"]["card"]
    assert first["sha256"] == card["start"]["sha256"] and first["command"].startswith("padim-nb distill ")
    losses = [loss for stage in (first, card) for _, loss in stage["loss curve"]]
    assert sum(losses[-3:]) < sum(losses[:3])
    assert all(card["held-out loss"][source] < loss for source, loss in first["held-out loss"].items())


def test_all_that_is_shipped_stays_small():
    folder = Path(cards.ASSETS)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 16_000_000
    assert not list(folder.rglob("*.p*kl")) + list(folder.rglob("*.pth"))


def test_the_shipped_teacher_tells_patches_apart():
    teacher, weights = load_teacher("small", "shipped")
    with torch.inference_mode():
        assert teacher(torch.rand(1, 3, 256, 256)).std() > 0.1
    assert weights["sha256"] == cards.card("pdn-small")["sha256"]


def test_damaged_or_missing_weights_are_refused(tmp_path, monkeypatch):
    for suffix in (".safetensors", ".json"):
        shutil.copy(cards.ASSETS / f"pdn-small{suffix}", tmp_path)
    monkeypatch.setattr(cards, "ASSETS", tmp_path)
    load_teacher("small", "shipped")
    path = tmp_path / "pdn-small.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-100] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(WeightsError, match="is damaged"):
        load_teacher("small", "shipped")
    path.unlink()
    with pytest.raises(WeightsError, match="not part of this installation"):
        load_teacher("small", "shipped")


def test_a_teacher_that_is_not_there_is_named_with_the_way_to_it(tmp_path):
    with pytest.raises(WeightsError, match="padim-nb distill --size small"):
        load_teacher("small")
    with pytest.raises(WeightsError, match="no teacher of size 'medium' is shipped"):
        load_teacher("medium", "shipped")
    with pytest.raises(WeightsError, match="not a teacher of size 'medium'"):
        load_teacher("medium", str(teacher_in(tmp_path)))


def test_a_plain_sequential_such_as_nelson1425s_is_read_also_from_the_cache_by_its_name(tmp_path):
    state = load_file(teacher_in(tmp_path))
    places = {"conv1": "0", "conv2": "3", "conv3": "6", "conv4": "8"}
    path = cache_root() / "weights" / "teacher_small.pth"
    path.parent.mkdir(parents=True)
    torch.save({f"{places[k.split('.')[0]]}.{k.split('.')[1]}": v for k, v in state.items()}, path)
    for weights in (str(path), "teacher_small.pth"):
        teacher, source = load_teacher("small", weights)
        assert all(torch.equal(teacher.state_dict()[key], state[key]) for key in state)
        assert source["name"] == "teacher_small.pth"


def test_the_statistics_are_in_the_teachers_last_convolution():
    teacher, _ = fresh()
    shown = torch.randint(0, 256, (5, 256, 256, 3), dtype=torch.uint8)
    scaled, _ = standardized(teacher, shown)
    with torch.no_grad():
        found = scaled(normalized(shown.permute(0, 3, 1, 2).float() / 255))
    assert found.mean((0, 2, 3)).abs().max() < 1e-4
    assert (found.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-4
