"""EfficientAD: the paper's numbers, its algorithm word for word in float64, training that resumes."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from making import write_image
from small_training import quick_in, teacher_in
from torch.nn.functional import relu

from padim_nb import load_category
from padim_nb.efficientad import pdn
from padim_nb.efficientad.detector import EfficientAD
from padim_nb.efficientad.model import AnomalyMapModel
from padim_nb.efficientad.penalty import penalties
from padim_nb.efficientad.settings import Training
from padim_nb.efficientad.teacher import standardized
from padim_nb.efficientad.training import StudentTrainer, hardest, jitter, losses
from padim_nb.errors import DataError, ModelError, OptionError
from padim_nb.features.backbones import normalized


@pytest.fixture
def teacher_file(tmp_path):
    return teacher_in(tmp_path)


@pytest.fixture
def quick(tmp_path):
    return quick_in(tmp_path)


def fresh(size="small", seed=0, padding=False):
    torch.manual_seed(seed)
    return pdn.teacher(size, padding), pdn.Pair(pdn.student(size, padding), pdn.autoencoder(padding))


@pytest.fixture
def narrow_medium(monkeypatch):
    """PDN-M with an eighth of its channels: grids and terms do not depend on them, and float64 takes its time."""
    layers = ((width and width // 8, *others) for width, *others in pdn._LAYERS["medium"])
    monkeypatch.setitem(pdn._LAYERS, "medium", tuple(layers))


def parameters(network):
    return sum(each.numel() for each in network.parameters())


def test_the_networks_have_the_papers_parameters():
    assert parameters(pdn.teacher("small")) == 2_694_144
    assert parameters(pdn.student("small")) == 4_267_392
    assert parameters(pdn.teacher("medium")) == 8_026_624
    assert parameters(pdn.student("medium")) == 11_615_488
    assert parameters(pdn.autoencoder()) == 1_096_320
    with pytest.raises(OptionError, match="did you mean 'small'"):
        pdn.teacher("smal")


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("size", ["small", "medium"])
def test_the_grids_of_all_networks_agree_at_any_size(size, padding, narrow_medium):
    teacher, pair = fresh(size, padding=padding)
    for height, width in ((256, 256), (256, 310), (300, 257)):
        x = torch.zeros(1, 3, height, width)
        with torch.inference_mode():
            found = {tuple(net(x).shape[2:]) for net in (teacher, pair.student, pair.autoencoder)}
        assert found == {pdn.grid(height, width, padding)}
    assert pdn.grid(256, 256, padding) == ((64, 64) if padding else (56, 56))
    assert pdn.autoencoder(padding).sizes(256, 256)[:6] == [(n, n) for n in (3, 8, 15, 32, 63, 127)]


def test_a_patch_is_seen_through_33_pixels():
    teacher, _ = fresh()
    x = torch.rand(1, 3, 256, 256, dtype=torch.float64, requires_grad=True)
    teacher.double()(x)[0, :, 20, 30].sum().backward()
    rows, columns = (x.grad[0].abs().sum(0) > 0).nonzero().unbind(1)
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == 33
    assert (rows.min(), columns.min()) == (80, 120)


@pytest.mark.parametrize("n", [7, 1000, 1001, 56 * 56 * 384])
def test_the_hardest_are_those_at_or_above_the_quantile(n):
    values = torch.rand(n, generator=torch.Generator().manual_seed(n)).double()
    wanted = values[values >= np.quantile(values.numpy(), 0.999)].mean()
    assert torch.isclose(hardest(values, 0.999), wanted, rtol=1e-12)


def literal_terms(teacher, student, autoencoder, image, penalty, jittered):
    """Algorithm 1 as the paper states it, nothing saved: three passes of the whole student, a sorted quantile."""

    def whole(net, x):
        for name in net.convolutions[:-1]:
            x = relu(getattr(net, name)(x))
            if name in ("conv1", "conv2"):
                x = torch.nn.AvgPool2d(2, 2)(x)
        return getattr(net, net.convolutions[-1])(x)

    distance = (whole(teacher, image) - whole(student, image)[:, :384]) ** 2
    hard = distance[distance >= np.quantile(distance.detach().numpy(), 0.999)].mean()
    pen = (whole(student, penalty)[:, :384] ** 2).mean()
    rebuilt = autoencoder(jittered)
    ae = ((whole(teacher, jittered) - rebuilt) ** 2).mean()
    stae = ((rebuilt - whole(student, jittered)[:, 384:]) ** 2).mean()
    return hard, pen, ae, stae


@pytest.mark.parametrize("size", ["small", "medium"])
def test_one_step_has_the_loss_terms_and_gradients_of_the_literal_algorithm(size, narrow_medium):
    teacher, pair = fresh(size)
    g = torch.Generator().manual_seed(1)
    image, other = torch.rand(2, 1, 3, 256, 256, generator=g)
    batch = normalized(torch.cat([image, other, jitter(image, g)]))
    with torch.no_grad():
        targets = [teacher(batch[:1]), teacher(batch[2:])]
    terms = losses(pair, *targets, batch, 0.999, None)
    terms.total.backward()
    found = [p.grad.clone() for p in pair.parameters()]
    exact = pdn.Pair(pdn.student(size), pdn.autoencoder()).double()
    exact.load_state_dict({key: value.double() for key, value in pair.state_dict().items()})
    shown = [each[None] for each in batch.double()]
    wanted = literal_terms(teacher.double().requires_grad_(False), exact.student, exact.autoencoder, *shown)
    sum(wanted).backward()
    for ours, theirs in zip((terms.hard, terms.penalty, terms.autoencoder, terms.student), wanted, strict=True):
        assert abs(ours.item() - theirs.item()) < 1e-5 * max(1.0, abs(theirs.item()))
    for ours, theirs in zip(found, [p.grad for p in exact.parameters()], strict=True):
        assert (ours - theirs).norm() < 1e-3 * theirs.norm()  # float32 picks a few other values at the quantile's edge


def test_a_step_without_penalty_images_has_no_such_term():
    teacher, pair = fresh()
    x = torch.rand(2, 3, 256, 256)
    with torch.no_grad():
        target = teacher(x)
    terms = losses(pair, target[:1], target[1:], x, 0.999, None)
    assert terms.penalty == 0
    assert terms.hard > 0


def test_the_statistics_are_in_the_teachers_last_convolution():
    teacher, _ = fresh()
    shown = torch.randint(0, 256, (5, 256, 256, 3), dtype=torch.uint8)
    with torch.no_grad():
        found = standardized(teacher, shown)(normalized(shown.permute(0, 3, 1, 2).float() / 255))
    assert found.mean((0, 2, 3)).abs().max() < 1e-4
    assert (found.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-4


def test_an_impulse_in_the_patch_map_comes_out_where_the_patch_was():
    for border in ("replicate", "zero", "raw-zero"):
        teacher, pair = fresh()
        model = AnomalyMapModel(teacher, pair, border, (256, 256))
        model.set_levels([(0.0, 0.1)] * 2)
        raw = torch.zeros(1, 2, 56, 56)
        raw[..., 20, 30] = 1.0
        model.raw = lambda _, raw=raw: raw
        top = model(None)[0].argmax().item()
        # The patch covers rows 80..112 and columns 120..152.
        assert abs(top // 256 - 96) <= 2
        assert abs(top % 256 - 136) <= 2


def test_the_border_rules_differ_only_at_the_border():
    teacher, pair = fresh()
    shown = torch.randint(0, 256, (1, 256, 256, 3), dtype=torch.uint8)
    maps = {}
    for border in ("replicate", "zero", "raw-zero"):
        model = AnomalyMapModel(teacher, pair, border, (256, 256))
        model.set_levels([(0.2, 0.5), (0.1, 0.3)])
        with torch.inference_mode():
            maps[border] = model(shown)[0]
    inner = slice(20, -20)
    assert torch.allclose(maps["zero"][inner, inner], maps["replicate"][inner, inner], atol=1e-6)
    assert torch.allclose(maps["raw-zero"][inner, inner], maps["replicate"][inner, inner], atol=1e-6)
    assert maps["zero"][0].abs().max() < 1e-6
    lowest = 0.5 * 0.1 * (-0.2 / 0.3) + 0.5 * 0.1 * (-0.1 / 0.2)
    assert torch.allclose(maps["raw-zero"][0], torch.tensor(lowest), atol=1e-5)
    assert (maps["replicate"][0] - maps["replicate"][20]).abs().max() < 1


@pytest.mark.parametrize(("room", "passes"), [(2 << 30, 2), (8, 3)])
def test_the_teacher_looks_at_each_image_once_while_there_is_room(room, passes, monkeypatch):
    asked = []
    teacher = torch.nn.Conv2d(3, 2, 1)
    teacher.register_forward_hook(lambda *_: asked.append(1))
    monkeypatch.setattr("padim_nb.efficientad.training.TARGETS", room)
    images = torch.zeros(2, 1, 1, 3, dtype=torch.uint8)
    trainer = StudentTrainer(teacher, torch.nn.Linear(1, 1), images, None, Training())
    with torch.no_grad():
        shown = {index: torch.rand(1, 3, 1, 1) for index in (0, 1)}
        found = [trainer._target(index, shown[index]) for index in (0, 1, 0, 1)]
        assert len(asked) == passes
        for index, target in zip((0, 1, 0, 1), found, strict=True):
            assert torch.equal(target, teacher(shown[index]))


def test_bad_input_is_refused_with_one_line(quick, parts, tmp_path, teacher_file):
    samples = load_category("widget", parts).train
    (tmp_path / "empty").mkdir()
    for penalty, message in (
        (str(tmp_path / "none"), "no penalty folder"),
        (str(tmp_path / "empty"), "no images in the penalty folder"),
    ):
        with pytest.raises(DataError, match=message):
            EfficientAD.from_settings(replace(quick, penalty=penalty), "cpu").fit(samples)
    with pytest.raises(OptionError, match="at least 256 px a side, not 200x200"):
        frame = replace(quick.frame, resize=(200, 200))
        EfficientAD.from_settings(replace(quick, frame=frame), "cpu").fit(samples)
    with pytest.raises(ModelError, match="give at least 2"):
        EfficientAD.from_settings(quick, "cpu").fit(samples[:1])
    with pytest.raises(ModelError, match="not been fitted"):
        EfficientAD.from_settings(quick, "cpu").score(samples)
    with pytest.raises(OptionError, match="did you mean 'zero'"):
        replace(quick, border="zeros")


def test_penalty_images_are_named_whatever_they_are(tmp_path):
    found, named = penalties("procedural", 40, 30, 3, 0)
    assert found.shape == (3, 40, 30, 3)
    assert named.startswith("procedural images ")
    assert penalties("none", 40, 30, 3, 0) == (None, "none")
    for number in range(5):
        write_image(tmp_path / "deep" / "er" / f"{number}.png", (64, 50), seed=number)
    found, named = penalties(str(tmp_path), 32, 24, 2, 0)
    assert found.shape == (2, 32, 24, 3)
    assert named.startswith("2 of 5 images in ")


def test_the_record_of_a_run_names_what_it_learnt_from(quick, parts, tmp_path):
    from padim_nb.experiments.run import RunSettings, execute

    for path in [*sorted((parts / "widget" / "train" / "good").iterdir())[4:], parts / "widget" / "test" / "line"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    settings = RunSettings(
        "widget", "efficientad-s", data=str(parts), weights=quick.weights, out=str(tmp_path / "out"), device="cpu",
        steps=1, penalty=quick.penalty, seed=3,
    )  # fmt: skip
    execute(settings)
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["facts"]["penalty"] == "2 of 2 images in others"
    assert record["facts"]["steps"] == 1
    assert record["seed"] == 3
    assert record["weights"]["name"] == "teacher.safetensors"
    assert not (tmp_path / "out" / "checkpoint.safetensors").exists()
