"""The detector: fitted, seeded, resumed, killed, out of disk, saved; with an eighth of the channels, for time."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from making import write_image, write_parts
from PIL import Image
from safetensors.torch import load_file, save_file
from small_training import NARROW, quick_in

from padim_nb import evaluate, load_category, recipe
from padim_nb.deploy.export import export
from padim_nb.detectors import load
from padim_nb.efficientad import pdn
from padim_nb.efficientad.detector import EfficientAD, _levels
from padim_nb.efficientad.settings import Training
from padim_nb.efficientad.training import StudentTrainer
from padim_nb.errors import CannotWrite, DataError, ModelError, OptionError, WeightsError
from padim_nb.experiments.recipes import RECIPES
from padim_nb.experiments.run import Stopwatch, write_record
from padim_nb.experiments.settings import RunSettings
from padim_nb.padim.detector import PaDiM
from padim_nb.util.model_file import read_model, write_model


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(pdn._LAYERS, "small", NARROW)
        yield


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


def test_fit_score_save_load_calibrate_and_export(settled, parts, tmp_path):
    widget, detector = load_category("widget", parts), settled[2]
    maps = detector.score(widget.test)
    assert maps.shape == (len(widget.test), 256, 256)
    assert np.isfinite(maps.maps).all()
    threshold = detector.calibrate(widget.train)
    assert np.array_equal(detector.held_out_scores(widget.train), [threshold.value])
    assert threshold.images == detector.facts["held out"] == 1
    assert "too few for a" in threshold.note
    assert detector.facts["penalty"] == "2 of 2 images in others"
    again = load(detector.save(tmp_path / "model.safetensors"), device="cpu")
    assert isinstance(again, EfficientAD)
    assert again.settings == detector.settings
    assert again.threshold_ == threshold
    assert np.array_equal(again.score(widget.test), maps)
    path = export(detector, tmp_path / "model.onnx")
    framed = np.stack([np.full((256, 256, 3), 90, np.uint8)] * 3)
    found = onnxruntime.InferenceSession(str(path)).run(None, {"images": framed})
    wanted = detector.score_images(framed)
    assert np.abs(found[0] - wanted.maps).max() < 1e-4 * max(1, np.abs(wanted.maps).max())
    assert np.allclose(found[1], wanted.scores, atol=1e-4)
    with pytest.raises(ModelError, match="fitted on images of 256x256, not 300x256"):
        detector.score_images(np.zeros((1, 300, 256, 3), np.uint8))
    with pytest.raises(ModelError, match="wanted is 'padim-nb/padim/1'"):
        PaDiM.load(tmp_path / "model.safetensors")


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(settled):
    settings, samples, detector = settled
    states = [detector.model_.state_dict()]
    for changes in ({"seed": 42}, {"seed": 7, "steps": 1}):
        other = replace(settings, training=replace(settings.training, **changes))
        states.append(EfficientAD.from_settings(other, "cpu").fit(samples).model_.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))
    assert not torch.equal(states[0]["pair.student.conv4.weight"], states[2]["pair.student.conv4.weight"])


def test_held_out_images_are_not_learned_from(quick, parts):
    widget = load_category("widget", parts)
    detector = EfficientAD.from_settings(replace(quick, held_out=0.25), "cpu")
    learned, held = detector._split(widget.train)
    assert (len(learned), len(held)) == (9, 3)
    assert not {s.image for s in learned} & {s.image for s in held}


def checkpointed(settings, samples, path):
    """A detector that resumes from, and writes, a checkpoint."""
    detector = EfficientAD.from_settings(settings, "cpu")
    detector.checkpoint, detector.minutes = path, 0.0
    return detector.fit(samples)


@pytest.fixture(scope="module")
def stopped(settled, tmp_path_factory):
    """(settings, samples, bytes of the checkpoint) of a training that ended."""
    settings, samples, _ = settled
    path = tmp_path_factory.mktemp("stopped") / "checkpoint.safetensors"
    checkpointed(settings, samples, path)
    return settings, samples, path.read_bytes()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"padding": True}, {"padding"}),
        ({"width": 0.5}, {"width"}),
        ({"held_out": 0.25}, {"held_out", "images"}),
        ({"quantiles": (0.5, 0.995)}, {"quantiles"}),
        ({"border": "zero"}, {"border"}),
        ({"training": Training(steps=4)}, {"steps"}),
        ({"penalty": "none"}, {"penalty"}),
    ],
)
def test_a_checkpoint_of_any_other_setting_is_refused(stopped, tmp_path, changes, named):
    settings, samples, whole = stopped
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(whole)
    with pytest.raises(OptionError, match=r"other settings or images \(") as error:
        checkpointed(replace(settings, **changes), samples, path)
    assert set(str(error.value).partition(" (")[2].partition(")")[0].split(", ")) == named
    assert "\n" not in str(error.value)
    assert path.read_bytes() == whole


def replaced_penalty(folder, settings):
    for number in range(2):
        write_image(folder / "others" / f"{number}.png", (300, 280), seed=9)
    return replace(settings, penalty=str(folder / "others"))


def replaced_teacher(folder, settings):
    state = {key: value + 1 for key, value in load_file(settings.weights).items()}
    save_file(state, folder / "teacher.safetensors")
    return replace(settings, weights=str(folder / "teacher.safetensors"))


@pytest.mark.parametrize(("replacing", "named"), [(replaced_penalty, "penalty"), (replaced_teacher, "weights")])
def test_a_checkpoint_of_other_contents_under_the_same_names_is_refused(stopped, tmp_path, replacing, named):
    settings, samples, whole = stopped
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(whole)
    with pytest.raises(OptionError, match=rf"other settings or images \({named}\)"):
        checkpointed(replacing(tmp_path, settings), samples, path)


def test_a_checkpoint_of_replaced_training_images_is_refused(settled, tmp_path):
    settings, path = settled[0], tmp_path / "checkpoint.safetensors"
    samples = load_category("widget", write_parts(tmp_path / "root" / "widget")).train
    checkpointed(settings, samples, path)
    for sample in samples:
        image = np.asarray(Image.open(sample.image))
        Image.fromarray(np.roll(image, 1, axis=0)).save(sample.image)
    with pytest.raises(OptionError, match=r"other settings or images \(images\)"):
        checkpointed(settings, samples, path)


def test_a_checkpoint_goes_on_where_the_same_files_lie_elsewhere(stopped, tmp_path):
    settings, samples, whole = stopped
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(whole)
    for name in ("weights", "penalty"):
        place = Path(getattr(settings, name))
        (shutil.copytree if place.is_dir() else shutil.copy)(place, tmp_path / f"moved-{place.name}")
        settings = replace(settings, **{name: str(tmp_path / f"moved-{place.name}")})
    assert checkpointed(settings, samples, path).earlier_ > 0


def test_a_damaged_checkpoint_is_refused_in_one_line(stopped, tmp_path):
    settings, samples, whole = stopped
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(whole)
    header, tensors = read_model(path, "training")
    write_model(path, "training", header, {k: v for k, v in tensors.items() if not k.startswith("pair.student.conv4")})
    with pytest.raises(ModelError, match="not a whole model file") as error:
        checkpointed(settings, samples, path)
    assert "\n" not in str(error.value)


def test_coinciding_quantiles_are_guarded_and_noted():
    levels, note = _levels(torch.zeros(2, 2, 56, 56), (0.9, 0.995))
    assert all(high > low for low, high in levels)
    assert "coincide" in note


def interrupted(settings, samples, checkpoint, at, monkeypatch):
    """Train until step `at`, writing a checkpoint after each step, and stop there."""
    whole = StudentTrainer.step

    def step(self, number):
        if number == at:
            raise KeyboardInterrupt
        return whole(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(StudentTrainer, "step", step)
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
    for a, b in zip(straight.model_.state_dict().values(), resumed.model_.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert resumed.earlier_ > straight.earlier_ == 0
    other = EfficientAD.from_settings(replace(quick, training=replace(quick.training, rate=1e-3)), "cpu")
    other.checkpoint = checkpoint
    with pytest.raises(OptionError, match=r"other settings or images \(rate\)"):
        other.fit(samples)


def test_a_record_counts_the_seconds_before_a_stop_too(settled, parts, tmp_path):
    widget, detector = load_category("widget", parts), replace(settled[2], earlier_=100.0)
    maps = detector.score(widget.test)
    report, asked = evaluate(maps, widget.test), RunSettings("widget", out=str(tmp_path))
    record = json.loads(
        write_record(asked, widget, detector, report, Stopwatch({"fit": 2.5, "score": 1.0})).read_text()
    )
    assert record["seconds"] == {"fit": 102.5, "score": 1.0}


KILLED = f"""
import sys
from pathlib import Path
from padim_nb import load_category
from padim_nb.efficientad import pdn
from padim_nb.efficientad.detector import EfficientAD
from padim_nb.efficientad.settings import EfficientADSettings, Training
pdn._LAYERS["small"] = {NARROW!r}
root, teacher, others, folder = sys.argv[1:]
settings = EfficientADSettings(weights=teacher, training=Training(steps=6, bf16=False), penalty=others)
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


@pytest.mark.torture
def test_kill_9_and_rerun_ends_with_the_same_weights(quick, parts, tmp_path, kills, rng):
    total, states = 0, []
    arguments = [str(parts), quick.weights, quick.penalty]
    command = [sys.executable, "-c", KILLED, *arguments]
    (tmp_path / "straight").mkdir()
    begun = time.monotonic()
    subprocess.run([*command, str(tmp_path / "straight")], check=True)
    took = time.monotonic() - begun
    moments = iter(lambda: rng.uniform(0.4, 0.95) * took, None)
    wanted = load_file(tmp_path / "straight" / "model.safetensors")
    while total < kills:
        folder = tmp_path / f"killed{len(states)}"
        folder.mkdir()
        total += killed_and_rerun([*command, str(folder)], folder, kills - total, moments)
        found = load_file(folder / "model.safetensors")
        assert all(torch.equal(wanted[key], found[key]) for key in wanted)
        assert sorted(path.name for path in folder.glob("*")) == ["checkpoint.safetensors", "model.safetensors"]
        states.append(found)


def test_a_full_disk_keeps_the_last_good_checkpoint(quick, parts, tmp_path, monkeypatch, tiny_disk):
    samples = load_category("widget", parts).train
    detector = EfficientAD.from_settings(quick, "cpu")
    detector.checkpoint, detector.minutes = tiny_disk / "checkpoint.safetensors", 0.0
    with pytest.raises(CannotWrite, match="the disk is full"):
        detector.fit(samples)
    assert not list(tiny_disk.glob("*.safetensors"))


def test_a_loss_that_is_not_a_number_stops_with_one_line(quick, parts, tmp_path, monkeypatch):
    samples = load_category("widget", parts).train
    checkpoint = tmp_path / "c.safetensors"
    interrupted(quick, samples, checkpoint, 1, monkeypatch)
    kept = checkpoint.read_bytes()
    whole = StudentTrainer.step

    def broken(self, number):
        terms = whole(self, number)
        terms.hard = terms.hard * float("nan")
        return terms

    monkeypatch.setattr(StudentTrainer, "step", broken)
    detector = EfficientAD.from_settings(quick, "cpu")
    detector.checkpoint, detector.minutes = checkpoint, 0.0
    with pytest.raises(ModelError, match=r"the loss is nan at step 2.*last good checkpoint is kept"):
        detector.fit(samples)
    assert checkpoint.read_bytes() == kept


def test_bad_input_is_refused_with_one_line(quick, parts, tmp_path):
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


def good_of(samples):
    return [sample for sample in samples if not sample.label]


def test_held_out_scores_are_kept_and_new_images_are_all_used(settled, parts, tmp_path):
    _, samples, detector = settled
    new = good_of(load_category("widget", parts).test)
    for fitted in (detector, load(detector.save(tmp_path / "model.safetensors"), device="cpu")):
        scores = fitted.held_out_scores()
        assert len(scores) == fitted.facts["held out"] == 1
        assert np.allclose(fitted.held_out_scores(samples[::-1]), scores), "in whatever order"
        assert np.allclose(fitted.held_out_scores(samples[3:] + samples[:3]), scores)
        assert fitted.calibrate(new, 0.2).images == len(new) == 4
        assert fitted.calibrate().images == 1
        learned = fitted._split(samples)[0]
        with pytest.raises(ModelError, match="all 11 images were learned from"):
            fitted.calibrate(learned)


SCRIPT = """
import sys
from dataclasses import replace
from padim_nb import load_category
from padim_nb.efficientad.detector import EfficientAD
from padim_nb.experiments.recipes import RECIPES
lite = RECIPES["efficientad-lite"].settings
lite = replace(lite, penalties=3, training=replace(lite.training, steps=1))
detector = EfficientAD.from_settings(lite, "cpu").fit(load_category("widget", sys.argv[1]).train[:2])
print(detector.facts["penalty"])
"""


@pytest.mark.torture
def test_a_recipe_with_a_shipped_teacher_fits_from_a_plain_script_with_an_empty_cache(parts, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PADIM_NB_CACHE": str(tmp_path / "new")}
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(parts)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("procedural images ")


def test_scoring_an_image_imports_nothing_heavy(settled, parts, tmp_path):
    path = settled[2].save(tmp_path / "model.safetensors")
    code = f"""
import sys
from padim_nb import load_category
from padim_nb.efficientad import pdn
from padim_nb.efficientad.detector import EfficientAD
pdn._LAYERS["small"] = {NARROW!r}
EfficientAD.load({str(path)!r}, "cpu").score(load_category("widget", {str(parts)!r}).test[:1])
print(sorted({{"torchvision", "scipy", "sklearn", "matplotlib"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("size", ["small", "medium"])
def test_the_recipes_that_claim_nelson1425s_rows_follow_it(size, tmp_path):
    row = RECIPES[f"efficientad-{size[0]}-nelson1425"]
    assert (row.source, row.row) == ("efficientad-nelson1425", f"EfficientAD-{size[0].upper()}")
    assert row.settings.border == "zero"
    assert f"teacher_{size}.pth" in row.needs
    assert "--penalty FOLDER" in row.needs
    sound = RECIPES[f"efficientad-{size[0]}"]
    assert (sound.source, sound.settings.border) == ("", "replicate"), "and the others claim none"
    with pytest.raises(WeightsError, match="weights get imagenette"):
        recipe(row.name)
    with pytest.raises(WeightsError, match=f"teacher_{size}.pth.*weights get nelson1425-{size}"):
        recipe(row.name, penalty=str(tmp_path))
