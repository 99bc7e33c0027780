"""The bank and what is learnt from it: nothing of the twin in it, the same bits again, a resume in between or not."""

import ast
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import padim_nb
from padim_nb import bank as bank_room
from padim_nb.backbones import backbone
from padim_nb.bank import KINDS, bank, programs
from padim_nb.blemishes import blemished
from padim_nb.distill import Distillation, description, distill
from padim_nb.errors import OptionError
from padim_nb.pretrain import Learner, Pretraining, contrast, dense_losses, pretrain
from padim_nb.views import mixed, views

SMALL = Pretraining(programs=40, batch=12, side=48, small=32, large=48, bf16=False)
TEACHING = Distillation(backbone="resnet18", weights="random", pictures=8, side=32, batch=4)


def sources(room):
    return sorted((Path(padim_nb.__file__).parent / room).rglob("*.py"))


@pytest.mark.parametrize(("room", "other"), [("bank", "twin"), ("twin", "bank")])
def test_neither_the_bank_nor_the_twin_imports_the_other(room, other):
    for path in sources(room):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            where = getattr(node, "module", None) or ""
            assert other not in [*where.split("."), *names], path
    assert len(sources(room)) > 5


def test_nothing_that_learns_imports_the_twin():
    for room in ("views.py", "blemishes.py", "training.py", "pretrain.py", "distill.py", "pdn.py"):
        text = (Path(padim_nb.__file__).parent / room).read_text()
        assert "twin" not in text
        assert "mvtec" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_gives_the_same_picture_again_and_another_for_another_instance(kind):
    found = [program for program in programs(200, 3) if program.kind == kind][:4]
    assert found
    for program in found:
        first, again, other = (program.render(i, 48) for i in (0, 0, 1))
        assert first.shape == (48, 48, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_the_bank_keeps_its_shares_and_a_longer_one_begins_with_the_shorter():
    whole = programs(1000, 0)
    for kind, (_, share) in KINDS.items():
        assert abs(sum(program.kind == kind for program in whole) / 1000 - share) < 0.05
    assert programs(10, 0) == whole[:10]
    assert programs(10, 1) != whole[:10]


def test_the_bank_is_the_same_from_one_process_and_from_two():
    one = np.array(bank(40, 2, 24, seed=5, workers=1))
    path = next((bank_room.store.cache_root() / "bank").glob("*.npy"))
    path.unlink()
    assert np.array_equal(one, bank(40, 2, 24, seed=5, workers=2))
    with pytest.raises(OptionError, match="cannot be made"):
        bank(0, 1, 24)


def test_views_are_reproducible_and_told_apart_by_their_geometry():
    pictures = torch.from_numpy(np.array(bank(6, 1, 48)[:, 0]))
    a, b, c = (views(pictures, 32, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(a.pictures, b.pictures)
    assert not torch.equal(a.pictures, c.pictures)
    assert a.pictures.shape == (6, 3, 32, 32)
    assert torch.isfinite(a.pictures).all()
    side = a.zoom.exp()
    assert ((side**2 > 0.079) & (side**2 < 0.801)).all()


def test_mixing_keeps_the_shares_it_says():
    x = torch.stack([torch.full((3, 40, 40), float(i)) for i in range(16)])
    found, partner, share = mixed(x, torch.Generator().manual_seed(0))
    own = torch.arange(16.0)
    wanted = share * own + (1 - share) * own[partner]
    assert torch.allclose(found.mean((1, 2, 3)), wanted, atol=1e-4)


def test_a_blemish_lies_inside_its_mask_and_nowhere_else():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, 48, 48, generator=g)
    found, mask = blemished(x, g)
    assert torch.equal(found[mask.expand_as(x) == 0], x[mask.expand_as(x) == 0])
    covered = mask.mean((1, 2, 3))
    assert ((covered == 0).float().mean() - 0.2).abs() < 0.15
    assert covered.max() < 0.5
    marked = [i for i in range(60) if covered[i] > 0]
    changed = [i for i in marked if (found[i] - x[i]).abs().max() > 1e-3]
    assert len(changed) == len(marked)


def test_the_taps_learn_to_say_where_the_blemishes_are():
    settings = replace(SMALL, programs=12, dense_batch=12, bf16=False)
    pictures = torch.from_numpy(np.array(bank(12, 2, 48)))
    torch.manual_seed(0)
    learner = Learner(settings)
    optimiser = torch.optim.Adam(learner.parameters(), 2e-3)
    found = []
    for step in range(25):
        g = torch.Generator().manual_seed(step % 3)
        loss = dense_losses(learner, pictures, torch.arange(12), settings, g)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    assert np.mean(found[-3:]) < 0.9 * np.mean(found[:3])


def test_the_contrastive_loss_is_the_written_out_one():
    g = torch.Generator().manual_seed(0)
    z = torch.nn.functional.normalize(torch.randn(8, 5, generator=g).double(), dim=1)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    total = 0.0
    for i in range(8):
        mates = [j for j in range(8) if j != i and labels[j] == labels[i]]
        below = sum(torch.exp(z[i] @ z[k] / 0.2) for k in range(8) if k != i)
        total += -sum(torch.log(torch.exp(z[i] @ z[j] / 0.2) / below) for j in mates) / len(mates)
    assert torch.isclose(contrast(z, labels, 0.2), total / 8)


def test_training_is_the_same_bit_for_bit_also_after_a_stop(tmp_path, monkeypatch):
    straight = load_file(pretrain(tmp_path / "a", SMALL, steps=3))
    from padim_nb import pretrain as room

    whole = room.losses

    def stop(*arguments):
        if stop.left == 0:
            raise KeyboardInterrupt
        stop.left -= 1
        return whole(*arguments)

    stop.left = 1
    with monkeypatch.context() as patch:
        patch.setattr(room, "losses", stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain(tmp_path / "b", SMALL, steps=3, every=0)
    resumed = load_file(pretrain(tmp_path / "b", SMALL, steps=3))
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)
    with pytest.raises(OptionError, match="other settings"):
        pretrain(tmp_path / "b", SMALL, steps=4)
    with pytest.raises(OptionError, match="either minutes or steps"):
        pretrain(tmp_path / "c", SMALL)
    on = pretrain(tmp_path / "d", SMALL, steps=1, start=tmp_path / "a" / "noisenet18.safetensors")
    assert json.loads(on.with_suffix(".json").read_text())["began from"]["steps"] == 3
    net = backbone("noisenet18", str(tmp_path / "a" / "noisenet18.safetensors"))
    assert [tuple(tap.shape[1:]) for tap in net(torch.zeros(1, 3, 64, 64))] == [(64, 16, 16), (128, 8, 8), (256, 4, 4)]


def test_a_teacher_is_distilled_the_same_again_and_gets_better(tmp_path):
    longer = Distillation(**{**TEACHING.__dict__, "rate": 1e-3})
    a, b = (load_file(distill(tmp_path / name, longer, steps=60)) for name in "ab")
    assert all(torch.equal(a[key], b[key]) for key in a)
    card = json.loads((tmp_path / "a" / "pdn-small.json").read_text())
    curve = [loss for _, loss in card["loss curve"]]
    assert curve[-1] < curve[0]
    assert card["source"].startswith("procedural bank")
    with pytest.raises(OptionError, match="needs pictures"):
        distill(tmp_path / "c", Distillation(**{**TEACHING.__dict__, "source": "none"}), steps=1)


def test_a_description_has_384_channels_whoever_teaches():
    for name, shape in (("resnet18", (16, 16)), ("wide_resnet50_2", (8, 8))):
        net = backbone(name, "random")
        with torch.inference_mode():
            found = description(net, torch.rand(1, 3, 128, 128), shape)
        assert found.shape == (1, 384, *shape)
