"""EfficientAD: the paper's numbers, its algorithm word for word in float64, training that resumes."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from making import write_image, write_parts
from safetensors.torch import load_file, save_file
from torch.nn.functional import interpolate, relu

from padim_nb import load_category, pdn
from padim_nb.backbones import normalised
from padim_nb.detectors import load
from padim_nb.efficientad import EfficientAD, Eye, Settings, standardised
from padim_nb.errors import CannotWrite, DataError, ModelError, OptionError, WeightsError
from padim_nb.export import export
from padim_nb.padim import PaDiM
from padim_nb.penalty import penalties
from padim_nb.student import Course, Pair, Training, hardest, jitter, losses
from padim_nb.teachers import load_teacher
from padim_nb.thresholds import image_scores


def teacher_in(folder):
    torch.manual_seed(0)
    path = folder / "teacher.safetensors"
    save_file({key: value.contiguous() for key, value in pdn.teacher("small").state_dict().items()}, path)
    return path


def quick_in(folder):
    """Settings of a training of three steps, with a folder of penalty pictures."""
    for number in range(2):
        write_image(folder / "others" / f"{number}.png", (300, 280), seed=number)
    return Settings(weights=str(teacher_in(folder)), training=Training(steps=3), penalty=str(folder / "others"))


@pytest.fixture
def teacher_file(tmp_path):
    return teacher_in(tmp_path)


@pytest.fixture
def quick(tmp_path):
    return quick_in(tmp_path)


@pytest.fixture(scope="module")
def settled(tmp_path_factory):
    """(settings, samples, detector): one undisturbed training that several tests compare with."""
    folder = tmp_path_factory.mktemp("settled")
    write_parts(folder / "root" / "widget")
    settings, samples = quick_in(folder), load_category("widget", folder / "root").train
    return settings, samples, EfficientAD.from_settings(settings, "cpu").fit(samples)


def fresh(size="small", seed=0, padding=False):
    torch.manual_seed(seed)
    return pdn.teacher(size, padding), Pair(pdn.student(size, padding), pdn.autoencoder(padding))


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
def test_the_grids_of_all_networks_agree_at_any_size(size, padding):
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
    x = torch.rand(1, 3, 256, 256, requires_grad=True)
    teacher(x)[0, :, 20, 30].sum().backward()
    rows, columns = (x.grad[0].abs().sum(0) > 0).nonzero().unbind(1)
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == 33
    assert (rows.min(), columns.min()) == (80, 120)


@pytest.mark.parametrize("n", [7, 1000, 1001, 56 * 56 * 384])
def test_the_hardest_are_those_at_or_above_the_quantile(n):
    values = torch.rand(n, generator=torch.Generator().manual_seed(n)).double()
    wanted = values[values >= np.quantile(values.numpy(), 0.999)].mean()
    assert torch.isclose(hardest(values, 0.999), wanted, rtol=1e-12)


def literal_terms(teacher, student, autoencoder, picture, penalty, jittered):
    """Algorithm 1 as the paper states it, nothing saved: three passes of the whole student, a sorted quantile."""

    def whole(net, x):
        for name in net.convolutions[:-1]:
            x = relu(getattr(net, name)(x))
            if name in ("conv1", "conv2"):
                x = torch.nn.AvgPool2d(2, 2)(x)
        return getattr(net, net.convolutions[-1])(x)

    distance = (whole(teacher, picture) - whole(student, picture)[:, :384]) ** 2
    hard = distance[distance >= np.quantile(distance.detach().numpy(), 0.999)].mean()
    pen = (whole(student, penalty)[:, :384] ** 2).mean()
    rebuilt = autoencoder(jittered)
    ae = ((whole(teacher, jittered) - rebuilt) ** 2).mean()
    stae = ((rebuilt - whole(student, jittered)[:, 384:]) ** 2).mean()
    return hard, pen, ae, stae


@pytest.mark.parametrize("size", ["small", "medium"])
def test_one_step_has_the_loss_terms_and_gradients_of_the_literal_algorithm(size):
    teacher, pair = fresh(size)
    g = torch.Generator().manual_seed(1)
    picture, other = torch.rand(2, 1, 3, 256, 256, generator=g)
    batch = normalised(torch.cat([picture, other, jitter(picture, g)]))
    with torch.no_grad():
        targets = [teacher(batch[:1]), teacher(batch[2:])]
    terms = losses(pair, *targets, batch, 0.999, None)
    terms.total.backward()
    found = [p.grad.clone() for p in pair.parameters()]
    exact = Pair(pdn.student(size), pdn.autoencoder()).double()
    exact.load_state_dict({key: value.double() for key, value in pair.state_dict().items()})
    shown = [each[None] for each in batch.double()]
    wanted = literal_terms(teacher.double(), exact.student, exact.autoencoder, *shown)
    sum(wanted).backward()
    for ours, theirs in zip((terms.hard, terms.penalty, terms.autoencoder, terms.student), wanted, strict=True):
        assert abs(ours.item() - theirs.item()) < 1e-5 * max(1.0, abs(theirs.item()))
    for ours, theirs in zip(found, [p.grad for p in exact.parameters()], strict=True):
        assert (ours - theirs).norm() < 1e-3 * theirs.norm()  # float32 picks a few other values at the quantile's edge


def test_a_step_without_penalty_pictures_has_no_such_term():
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
        found = standardised(teacher, shown)(normalised(shown.permute(0, 3, 1, 2).float() / 255))
    assert found.mean((0, 2, 3)).abs().max() < 1e-4
    assert (found.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-4


def test_an_impulse_in_the_patch_map_comes_out_where_the_patch_was():
    for border in ("replicate", "zero", "raw-zero"):
        teacher, pair = fresh()
        eye = Eye(teacher, pair, border, (256, 256))
        eye.set_levels([(0.0, 0.1)] * 2)
        raw = torch.zeros(1, 2, 56, 56)
        raw[..., 20, 30] = 1.0
        eye.raw = lambda _, raw=raw: raw
        top = eye(None)[0].argmax().item()
        # The patch covers rows 80..112 and columns 120..152.
        assert abs(top // 256 - 96) <= 2
        assert abs(top % 256 - 136) <= 2


def test_the_border_rules_differ_only_at_the_border():
    teacher, pair = fresh()
    shown = torch.randint(0, 256, (1, 256, 256, 3), dtype=torch.uint8)
    maps = {}
    for border in ("replicate", "zero", "raw-zero"):
        eye = Eye(teacher, pair, border, (256, 256))
        eye.set_levels([(0.2, 0.5), (0.1, 0.3)])
        with torch.inference_mode():
            maps[border] = eye(shown)[0]
    inner = slice(20, -20)
    assert torch.allclose(maps["zero"][inner, inner], maps["replicate"][inner, inner], atol=1e-6)
    assert torch.allclose(maps["raw-zero"][inner, inner], maps["replicate"][inner, inner], atol=1e-6)
    assert maps["zero"][0].abs().max() < 1e-6
    lowest = 0.5 * 0.1 * (-0.2 / 0.3) + 0.5 * 0.1 * (-0.1 / 0.2)
    assert torch.allclose(maps["raw-zero"][0], torch.tensor(lowest), atol=1e-5)
    assert (maps["replicate"][0] - maps["replicate"][20]).abs().max() < 1


def test_fit_score_save_load_calibrate_and_export(settled, parts, tmp_path):
    widget, detector = load_category("widget", parts), settled[2]
    maps = detector.score(widget.test)
    assert maps.shape == (len(widget.test), 256, 256)
    assert np.isfinite(maps).all()
    threshold = detector.calibrate(widget.train)
    assert threshold.images == detector.facts["held out"] == 1
    assert "cannot promise" in threshold.note
    assert detector.facts["penalty"] == "2 of 2 images in others"
    again = load(detector.save(tmp_path / "model.safetensors"), device="cpu")
    assert isinstance(again, EfficientAD)
    assert again.settings == detector.settings
    assert again.threshold_ == threshold
    assert np.array_equal(again.score(widget.test), maps)
    path = export(detector, tmp_path / "model.onnx")
    framed = np.stack([np.full((256, 256, 3), 90, np.uint8)] * 3)
    found = onnxruntime.InferenceSession(str(path)).run(None, {"pictures": framed})
    wanted = detector.score_pictures(framed)
    assert np.abs(found[0] - wanted).max() < 1e-4 * max(1, np.abs(wanted).max())
    assert np.allclose(found[1], image_scores(wanted), atol=1e-4)
    with pytest.raises(ModelError, match="fitted on pictures of 256x256, not 300x256"):
        detector.score_pictures(np.zeros((1, 300, 256, 3), np.uint8))
    with pytest.raises(ModelError, match="wanted is 'padim-nb/padim/1'"):
        PaDiM.load(tmp_path / "model.safetensors")


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(settled):
    settings, samples, detector = settled
    states = [detector.eye_.state_dict()]
    for changes in ({"seed": 42}, {"seed": 7, "steps": 1}):
        other = replace(settings, training=replace(settings.training, **changes))
        states.append(EfficientAD.from_settings(other, "cpu").fit(samples).eye_.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))
    assert not torch.equal(states[0]["pair.student.conv4.weight"], states[2]["pair.student.conv4.weight"])


def test_held_out_pictures_are_not_learnt_from(quick, parts):
    widget = load_category("widget", parts)
    detector = EfficientAD.from_settings(replace(quick, held_out=0.25), "cpu")
    learnt, held = detector._split(widget.train)
    assert (len(learnt), len(held)) == (9, 3)
    assert not {s.image for s in learnt} & {s.image for s in held}


def test_coinciding_quantiles_are_guarded_and_noted(quick, tmp_path):
    for number in range(4):
        write_image(tmp_path / "flat" / "train" / "good" / f"{number}.png", (256, 256), seed=0)
    samples = load_category("flat", tmp_path).train
    detector = EfficientAD.from_settings(replace(quick, training=Training(steps=1)), "cpu")
    detector.fit(samples)
    detector.eye_.raw = lambda shown: torch.zeros(len(shown), 2, 56, 56)
    levels, note = detector._quantiles(torch.zeros(2, 256, 256, 3, dtype=torch.uint8))
    assert all(high > low for low, high in levels)
    assert "coincide" in note


def interrupted(settings, samples, checkpoint, at, monkeypatch):
    """Train until step `at`, writing a checkpoint after each step, and stop there."""
    whole = Course.step

    def step(self, number):
        if number == at:
            raise KeyboardInterrupt
        return whole(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Course, "step", step)
        detector = EfficientAD.from_settings(settings, "cpu")
        detector.checkpoint, detector.minutes = checkpoint, 0.0
        with pytest.raises(KeyboardInterrupt):
            detector.fit(samples)


def test_an_interrupted_training_goes_on_and_ends_with_the_same_weights(settled, tmp_path, monkeypatch):
    quick, samples, straight = settled
    checkpoint = tmp_path / "c.safetensors"
    interrupted(quick, samples, checkpoint, 2, monkeypatch)
    resumed = EfficientAD.from_settings(quick, "cpu")
    resumed.checkpoint = checkpoint
    resumed.fit(samples)
    for a, b in zip(straight.eye_.state_dict().values(), resumed.eye_.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    other = EfficientAD.from_settings(replace(quick, training=replace(quick.training, rate=1e-3)), "cpu")
    other.checkpoint = checkpoint
    with pytest.raises(OptionError, match=r"other settings \(rate\)"):
        other.fit(samples)


KILLED = """
import sys
from pathlib import Path
from padim_nb import load_category
from padim_nb.efficientad import EfficientAD, Settings
from padim_nb.student import Training
root, teacher, others, folder = sys.argv[1:]
settings = Settings(weights=teacher, training=Training(steps=3, bf16=False), penalty=others)
detector = EfficientAD.from_settings(settings, "cpu")
detector.checkpoint, detector.minutes = Path(folder) / "checkpoint.safetensors", 0.0
detector.fit(load_category("widget", root).train).save(Path(folder) / "model.safetensors")
"""


def killed_and_rerun(command, folder, kills, moments):
    """Start, kill -9 after a random while, and so on; then let it end. Returns how often it really was killed."""
    count = 0
    for _ in range(kills):
        process = subprocess.Popen(command)
        try:
            process.wait(next(moments))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            count += 1
        if (folder / "model.safetensors").exists():
            break
    subprocess.run(command, check=True)
    return count


@pytest.mark.slow
def test_kill_9_and_rerun_ends_with_the_same_weights(quick, parts, tmp_path, kills):
    rng, total, states = np.random.default_rng(), 0, []
    arguments = [str(parts), quick.weights, quick.penalty]
    command = [sys.executable, "-c", KILLED, *arguments]
    (tmp_path / "straight").mkdir()
    begun = time.monotonic()
    subprocess.run([*command, str(tmp_path / "straight")], check=True)
    took = time.monotonic() - begun
    moments = iter(lambda: rng.uniform(0.3, 0.95) * took, None)
    wanted = load_file(tmp_path / "straight" / "model.safetensors")
    start = time.monotonic()
    while total < kills and time.monotonic() - start < 1200:
        folder = tmp_path / f"killed{len(states)}"
        folder.mkdir()
        total += killed_and_rerun([*command, str(folder)], folder, kills - total, moments)
        found = load_file(folder / "model.safetensors")
        assert all(torch.equal(wanted[key], found[key]) for key in wanted)
        assert sorted(path.name for path in folder.glob("*")) == ["checkpoint.safetensors", "model.safetensors"]
        states.append(found)
    assert total >= kills


def test_a_full_disk_keeps_the_last_good_checkpoint(quick, parts, tmp_path, monkeypatch, tiny_disk):
    samples = load_category("widget", parts).train
    detector = EfficientAD.from_settings(quick, "cpu")
    detector.checkpoint, detector.minutes = tiny_disk / "checkpoint.safetensors", 0.0
    with pytest.raises(CannotWrite, match="the disk is full"):
        detector.fit(samples)
    assert not list(tiny_disk.glob("*.safetensors"))


@pytest.mark.parametrize(("room", "passes"), [(2 << 30, 2), (8, 3)])
def test_the_teacher_looks_at_each_picture_once_while_there_is_room(room, passes, monkeypatch):
    asked = []
    teacher = torch.nn.Conv2d(3, 2, 1)
    teacher.register_forward_hook(lambda *_: asked.append(1))
    monkeypatch.setattr("padim_nb.student.TARGETS", room)
    pictures = torch.zeros(2, 1, 1, 3, dtype=torch.uint8)
    course = Course(teacher, torch.nn.Linear(1, 1), pictures, None, Training())
    with torch.no_grad():
        shown = {index: torch.rand(1, 3, 1, 1) for index in (0, 1)}
        found = [course._target(index, shown[index]) for index in (0, 1, 0, 1)]
        assert len(asked) == passes
        for index, target in zip((0, 1, 0, 1), found, strict=True):
            assert torch.equal(target, teacher(shown[index]))


def test_a_loss_that_is_not_a_number_stops_with_one_line(quick, parts, tmp_path, monkeypatch):
    samples = load_category("widget", parts).train
    checkpoint = tmp_path / "c.safetensors"
    interrupted(quick, samples, checkpoint, 1, monkeypatch)
    kept = checkpoint.read_bytes()
    whole = Course.step

    def broken(self, number):
        terms = whole(self, number)
        terms.hard = terms.hard * float("nan")
        return terms

    monkeypatch.setattr(Course, "step", broken)
    detector = EfficientAD.from_settings(quick, "cpu")
    detector.checkpoint, detector.minutes = checkpoint, 0.0
    with pytest.raises(ModelError, match=r"the loss is nan at step 2.*last good checkpoint is kept"):
        detector.fit(samples)
    assert checkpoint.read_bytes() == kept


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
    with pytest.raises(OptionError, match="share between 0 and 1"):
        replace(quick, held_out=1.0)
    with pytest.raises(WeightsError, match="distil"):
        load_teacher("small")
    with pytest.raises(WeightsError, match="no teacher of size 'medium' is shipped"):
        load_teacher("medium", "shipped")
    with pytest.raises(WeightsError, match="not a teacher of size 'medium'"):
        load_teacher("medium", str(teacher_file))


def test_a_teacher_of_a_plain_sequential_is_understood(teacher_file, tmp_path):
    state = load_file(teacher_file)
    places = {"conv1": "0", "conv2": "3", "conv3": "6", "conv4": "8"}
    torch.save({f"{places[k.split('.')[0]]}.{k.split('.')[1]}": v for k, v in state.items()}, tmp_path / "plain.pth")
    found, weights = load_teacher("small", str(tmp_path / "plain.pth"))
    assert all(torch.equal(found.state_dict()[key], state[key]) for key in state)
    assert weights["name"] == "plain.pth"


def test_penalty_pictures_are_named_whatever_they_are(tmp_path):
    found, named = penalties("bank", 40, 30, 3, 0)
    assert found.shape == (3, 40, 30, 3)
    assert named.startswith("procedural bank ")
    assert penalties("none", 40, 30, 3, 0) == (None, "none")
    for number in range(5):
        write_image(tmp_path / "deep" / "er" / f"{number}.png", (64, 50), seed=number)
    found, named = penalties(str(tmp_path), 32, 24, 2, 0)
    assert found.shape == (2, 32, 24, 3)
    assert named.startswith("2 of 5 images in ")


def test_interpolating_the_finished_map_or_its_parts_is_the_same():
    raw = torch.rand(2, 2, 64, 64)
    a = interpolate(raw * 3 + 1, size=(256, 256), mode="bilinear", align_corners=False)
    b = interpolate(raw, size=(256, 256), mode="bilinear", align_corners=False) * 3 + 1
    assert torch.allclose(a, b, atol=1e-5)


def test_the_record_of_a_run_names_what_it_learnt_from(quick, parts, tmp_path):
    from padim_nb.runs import Settings as RunSettings
    from padim_nb.runs import execute

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
