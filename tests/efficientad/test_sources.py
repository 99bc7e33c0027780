"""The rows that follow nelson1425 and anomalib, against literal transcriptions of those programs' steps.

Written from a description of both: each step in its order, with Pillow and torch alone.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from scipy import ndimage
from small_training import NARROW, teacher_in
from torch.nn.functional import interpolate, pad
from torchvision.transforms.functional import adjust_brightness, adjust_contrast, adjust_saturation

from padim_nb import evaluate, load_category
from padim_nb.data.images import image_batches
from padim_nb.detectors import load
from padim_nb.efficientad import pdn
from padim_nb.efficientad.checkpoints import generator
from padim_nb.efficientad.detector import EfficientAD
from padim_nb.efficientad.penalty import penalties
from padim_nb.efficientad.teacher import load_teacher, standardized
from padim_nb.efficientad.training import OriginalJitter, StudentTrainer, image_of_step
from padim_nb.errors import DataError, OptionError
from padim_nb.evaluation.thresholds import Threshold
from padim_nb.experiments.recipes import RECIPES

SIZE = (300, 280)  # (height, width) of the files
MEAN, STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(pdn._LAYERS, "small", NARROW)
        patch.setattr(pdn.Autoencoder, "DROPOUT", 0.0)  # what is dropped is drawn
        yield


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    """Twelve good images with some structure, tests with a mask, all of their own size; penalty images; a teacher."""
    root, rng = tmp_path_factory.mktemp("root"), np.random.default_rng(0)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for place, count in (("train/good", 12), ("test/good", 3), ("test/spot", 3)):
        for number in range(count):
            image = (
                120 + 60 * np.sin(x / 9 + number)[..., None] * np.cos(y / 13)[..., None] + rng.normal(0, 20, (*SIZE, 3))
            )
            if place == "test/spot":
                image[100:130, 60:110] = 240 - 10 * number
                mask = np.zeros(SIZE, np.uint8)
                mask[100:130, 60:110] = mask[200:203, 200:240] = 255
                save(mask, root / "part" / "ground_truth" / "spot" / f"{number:03d}_mask.png")
            save(np.clip(image, 0, 255).astype(np.uint8), root / "part" / place / f"{number:03d}.png")
    for number in range(4):
        save(rng.integers(0, 256, (333, 410, 3)).astype(np.uint8), root / "penalty" / f"{number}.png")
    return load_category("part", root), root / "penalty", str(teacher_in(root))


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def settings_like(recipe, category, steps=2):
    """A recipe's settings, with narrow networks and few steps."""
    _, folder, teacher = category
    own = RECIPES[recipe].settings
    return replace(own, weights=teacher, penalty=str(folder), training=replace(own.training, steps=steps))


def opened(path):
    return Image.open(path).convert("RGB")


def to_input(image):
    """ToTensor, and Normalize with ImageNet's mean and deviation."""
    return (torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 - MEAN) / STD


def default_transform(image):
    return to_input(image.resize((256, 256), Image.Resampling.BILINEAR))


# ---- nelson1425


def nelson_split(samples, seed=42):
    """random_split of int(0.9 n) images with a generator of the seed."""
    size = int(0.9 * len(samples))
    numbers = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed)).tolist()
    return [samples[i] for i in numbers[:size]], [samples[i] for i in numbers[size:]]


def nelson_jittered(image, kind, factor):
    """One of three color jitters, on Pillow's image at its own size, then the default transform."""
    enhancer = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[kind]
    return default_transform(enhancer(image).enhance(factor))


def nelson_penalty(image, gray):
    """Resize((512, 512)), RandomGrayscale(0.3), CenterCrop((256, 256))."""
    image = image.resize((512, 512), Image.Resampling.BILINEAR)
    if gray:
        image = image.convert("L").convert("RGB")
    return to_input(image.crop((128, 128, 384, 384)))


def teacher_statistics(teacher, paths):
    """Channel means over the training images, then channel deviations from the mean squared distance to them."""
    outputs = [teacher(default_transform(opened(path))[None]) for path in paths]
    mean = torch.stack([output.mean((0, 2, 3)) for output in outputs]).mean(0)[None, :, None, None]
    variance = torch.stack([((output - mean) ** 2).mean((0, 2, 3)) for output in outputs]).mean(0)
    return mean, variance.sqrt()[None, :, None, None]


def published_step(teacher, mean, std, student, autoencoder, image_st, image_ae, image_penalty):
    """The four terms of one step as both programs write them, hard mining by a sorted quantile."""
    with torch.no_grad():
        teacher_output_st = (teacher(image_st) - mean) / std
        teacher_output_ae = (teacher(image_ae) - mean) / std
    distance_st = (teacher_output_st - student(image_st)[:, :384]) ** 2
    d_hard = torch.quantile(distance_st, q=0.999)
    loss_hard = torch.mean(distance_st[distance_st >= d_hard])
    loss_penalty = torch.mean(student(image_penalty)[:, :384] ** 2)
    ae_output = autoencoder(image_ae)
    loss_ae = torch.mean((teacher_output_ae - ae_output) ** 2)
    loss_stae = torch.mean((ae_output - student(image_ae)[:, 384:]) ** 2)
    return loss_hard, loss_penalty, loss_ae, loss_stae


def trainer_of(settings, samples, folder):
    """The trainer that `fit` makes, with the random networks that it starts from."""
    detector = EfficientAD.from_settings(settings, "cpu")
    images = detector._images(samples)
    teacher, targets = standardized(load_teacher("small", settings.weights)[0], images, 1 << 30)
    pair = detector._networks((256, 256)).pair
    others, _ = penalties(str(folder), 256, 256, settings.penalties, 42)
    paths = [sample.image for sample in samples]
    originals = OriginalJitter(paths, settings.frame, settings.training)
    originals = originals if settings.training.augment == "original" else None
    return StudentTrainer(teacher, pair, images, others, settings.training, targets, originals)


def draws(step, images, others):
    """What is random in a step: (the image, kind and factor of its jitter, the penalty image, whether it is gray)."""
    rng = generator(42, step)
    kind, factor = int(torch.randint(3, (1,), generator=rng)), 0.8 + 0.4 * torch.rand(1, generator=rng).item()
    other = int(torch.randint(others, (1,), generator=rng))
    return image_of_step(step, images, 42), kind, factor, other, torch.rand(1, generator=rng).item() < 0.3


def test_images_are_resized_and_split_as_nelson1425_does(category):
    parts, _, _ = category
    settings = settings_like("efficientad-s-nelson1425", category)
    learned, held_out = EfficientAD.from_settings(settings, "cpu")._split(parts.train)
    wanted, others = nelson_split(list(parts.train))
    assert (len(wanted), len(others)) == (10, 2)
    assert ({s.image for s in learned}, {s.image for s in held_out}) == (
        {s.image for s in wanted}, {s.image for s in others},
    )  # fmt: skip
    batch = pdn.inputs(torch.from_numpy(next(image_batches(learned, settings.frame, 3))))
    torch.testing.assert_close(batch, torch.stack([default_transform(opened(s.image)) for s in learned[:3]]))


def test_the_autoencoders_image_is_jittered_at_its_own_size_as_nelson1425_does(category):
    parts, _, _ = category
    settings = settings_like("efficientad-s-nelson1425", category, steps=9)
    originals = OriginalJitter([s.image for s in parts.train], settings.frame, settings.training)
    kinds, later = set(), []
    for step in (*range(5), 7, 8, 2):  # in turn, and out of it
        index, kind, factor, _, _ = draws(step, 12, 1)
        kinds.add(kind)
        image = opened(parts.train[index].image)
        found = pdn.inputs(torch.from_numpy(originals(step))[None])[0]
        torch.testing.assert_close(found, nelson_jittered(image, kind, factor), rtol=0, atol=1e-6)
        after = (adjust_brightness, adjust_contrast, adjust_saturation)[kind]
        later.append(to_input(after(image.resize((256, 256), Image.Resampling.BILINEAR), factor)))
        assert not torch.allclose(found, later[-1], atol=1e-3), "after the resize it would be another image"
    assert kinds == {0, 1, 2}


@pytest.mark.parametrize("recipe", ["efficientad-s-nelson1425", "efficientad-s-anomalib"])
def test_penalty_images_are_those_of_both_programs(recipe, category):
    parts, folder, _ = category
    trainer, grays = trainer_of(settings_like(recipe, category), parts.train[:2], folder), []
    paths = sorted(folder.iterdir())
    for step in range(12):
        *_, other, gray = draws(step, 2, len(paths))
        rng = generator(42, step)
        torch.randint(3, (1,), generator=rng), torch.rand(1, generator=rng)
        (found,) = trainer._penalty(rng)
        grays.append(gray)
        rounding = 0 if recipe.endswith("nelson1425") else 1.01 / 255  # Pillow's gray is one of 256
        wanted = nelson_penalty(opened(paths[other]), gray) * STD + MEAN
        torch.testing.assert_close(found[0], wanted, rtol=0, atol=1e-6 + rounding)
    assert 0 < sum(grays) < 12


@pytest.mark.parametrize("recipe", ["efficientad-s-nelson1425", "efficientad-s-anomalib"])
def test_one_step_from_files_to_weights_is_that_of_both_programs(recipe, category):
    parts, folder, weights = category
    settings, learned = settings_like(recipe, category), list(parts.train[:5])
    trainer, paths = trainer_of(settings, learned, folder), sorted(folder.iterdir())
    teacher = load_teacher("small", weights)[0]
    mean, std = teacher_statistics(teacher, [s.image for s in learned])
    pair = EfficientAD.from_settings(settings, "cpu")._networks((256, 256)).pair
    optimizer = torch.optim.Adam(pair.parameters(), lr=1e-4, weight_decay=1e-5)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=max(1, int(0.95 * 2)), gamma=0.1)
    for step in range(2):
        index, kind, factor, other, gray = draws(step, 5, len(paths))
        image = opened(learned[index].image)
        if recipe.endswith("nelson1425"):
            image_ae = nelson_jittered(image, kind, factor)
        else:  # anomalib: of the resized tensor in 0..1
            adjust = (adjust_brightness, adjust_contrast, adjust_saturation)[kind]
            image_ae = (adjust(default_transform(image) * STD + MEAN, factor) - MEAN) / STD
        penalty = nelson_penalty(opened(paths[other]), gray)
        inputs = (default_transform(image)[None], image_ae[None], penalty[None])
        wanted = published_step(teacher, mean, std, pair.student, pair.autoencoder, *inputs)
        optimizer.zero_grad()
        sum(wanted).backward()
        rate = optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()
        terms = trainer.step(step)
        for ours, theirs in zip((terms.hard, terms.penalty, terms.autoencoder, terms.student), wanted, strict=True):
            assert ours.item() == pytest.approx(theirs.item(), rel=2e-4)
        assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(rate)
        for ours, theirs in zip(trainer.pair.parameters(), pair.parameters(), strict=True):
            assert (ours.grad - theirs.grad).norm() < 3e-3 * theirs.grad.norm() + 1e-9
    moved = [(a - b).abs().max() for a, b in zip(trainer.pair.parameters(), pair.parameters(), strict=True)]
    assert max(moved) < 2.5e-4, "two steps of Adam move a weight by 1.1e-4; where a slope is about 0, either way"


def nelson_predict(image_path, teacher, mean, std, student, autoencoder, levels):
    """The map of one image at the image's own size, and its two raw maps."""
    image = opened(image_path)
    orig_width, orig_height = image.size
    x = default_transform(image)[None]
    teacher_output = (teacher(x) - mean) / std
    student_output, autoencoder_output = student(x), autoencoder(x)
    map_st = torch.mean((teacher_output - student_output[:, :384]) ** 2, dim=1, keepdim=True)
    map_ae = torch.mean((autoencoder_output - student_output[:, 384:]) ** 2, dim=1, keepdim=True)
    if levels is None:
        return map_st, map_ae
    (q_st_start, q_st_end), (q_ae_start, q_ae_end) = levels
    map_st = 0.1 * (map_st - q_st_start) / (q_st_end - q_st_start)
    map_ae = 0.1 * (map_ae - q_ae_start) / (q_ae_end - q_ae_start)
    map_combined = pad(0.5 * map_st + 0.5 * map_ae, (4, 4, 4, 4))
    return interpolate(map_combined, (orig_height, orig_width), mode="bilinear")[0, 0].numpy()


@pytest.fixture(scope="module")
def nelson(category):
    """(detector, levels and maps of the literal program with the same networks, the test images)."""
    parts, _, weights = category
    settings = settings_like("efficientad-s-nelson1425", category)
    detector = EfficientAD.from_settings(settings, "cpu").fit(parts.train)
    with torch.inference_mode():
        learned, held_out = nelson_split(list(parts.train))
        teacher = load_teacher("small", weights)[0]
        mean, std = teacher_statistics(teacher, [s.image for s in learned])
        networks = teacher, mean, std, detector.model_.pair.student, detector.model_.pair.autoencoder
        raw = [nelson_predict(s.image, *networks, None) for s in held_out]
        both = [torch.cat(maps) for maps in zip(*raw, strict=True)]
        levels = [(torch.quantile(maps, q=0.9), torch.quantile(maps, q=0.995)) for maps in both]
        maps = np.stack([nelson_predict(s.image, *networks, levels) for s in parts.test])
        good = [nelson_predict(s.image, *networks, levels).max() for s in held_out]
    return detector, levels, maps, sorted(good), parts.test


def test_quantiles_maps_and_scores_at_the_images_own_size_are_nelson1425s(nelson, tmp_path):
    detector, levels, maps, good, test = nelson
    np.testing.assert_allclose(detector.levels_, [[float(q) for q in pair] for pair in levels], rtol=1e-3)
    for fitted in (detector, load(detector.save(tmp_path / "m.safetensors"), device="cpu")):
        found = fitted.score(test)
        assert found.shape == (6, *SIZE)
        np.testing.assert_allclose(found.maps, maps, rtol=1e-3, atol=1e-3 * np.abs(maps).max())
        np.testing.assert_allclose(found.scores, maps.max((1, 2)), rtol=1e-3)
        np.testing.assert_allclose(sorted(fitted.held_out_scores()), good, rtol=1e-3)
    assert detector.facts["maps"] == "300x280"


def test_figures_at_the_images_own_size_are_those_of_a_literal_evaluation(nelson):
    detector, _, _, _, test = nelson
    found = detector.score(test)
    truth = [np.array(Image.open(s.mask)) > 0 if s.label else np.zeros(SIZE, bool) for s in test]
    assert truth[-1].shape == found.shape[1:], "masks as they lie in their files"
    metrics = evaluate(found, test).metrics
    assert metrics["aupro"] == pytest.approx(literal_aupro(found.maps, truth), abs=1e-6)
    scores = found.maps.max((1, 2))
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[3:] for b in scores[:3]]
    assert metrics["image_auroc"] == pytest.approx(np.mean(pairs))


def literal_aupro(maps, truth, limit=0.3):
    """All pixels sorted once, cumulative sums of false positives and of 1 / region area, ties at their last pixel."""
    values, false, overlap, regions = [], [], [], 0
    for map_, mask in zip(maps, truth, strict=True):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        regions += count
        area = np.bincount(labels.ravel()).astype(float)
        values.append(map_.ravel())
        false.append((labels == 0).ravel())
        overlap.append(np.where(labels == 0, 0, 1 / area[labels]).ravel())
    values, false, overlap = (np.concatenate(parts) for parts in (values, false, overlap))
    order = np.argsort(-values, kind="stable")
    last = np.append(np.diff(values[order]) != 0, True)
    fpr, pro = np.cumsum(false[order])[last] / false.sum(), np.cumsum(overlap[order])[last] / regions
    fpr, pro = np.append(0, fpr), np.append(0, pro)
    inside = fpr <= limit
    x, y = np.append(fpr[inside], limit), np.append(pro[inside], np.interp(limit, fpr, pro))
    return np.trapezoid(y, x) / limit


# ---- anomalib


def test_quantiles_maps_and_scores_are_anomalibs(category):
    parts, _, weights = category
    detector = EfficientAD.from_settings(settings_like("efficientad-s-anomalib", category), "cpu").fit(parts.train)
    learned, held_out = detector._split(parts.train)
    with torch.inference_mode():
        teacher = load_teacher("small", weights)[0]
        mean, std = teacher_statistics(teacher, [s.image for s in learned])
        pair = detector.model_.pair

        def padded_maps(path):
            x = default_transform(opened(path))[None]
            teacher_output, student_output = (teacher(x) - mean) / std, pair.student(x)
            map_st = torch.mean((teacher_output - student_output[:, :384]) ** 2, dim=1, keepdim=True)
            map_stae = torch.mean((pair.autoencoder(x) - student_output[:, 384:]) ** 2, dim=1, keepdim=True)
            return [interpolate(pad(m, (4, 4, 4, 4)), (256, 256), mode="bilinear") for m in (map_st, map_stae)]

        all_st, all_stae = (torch.cat(m) for m in zip(*(padded_maps(s.image) for s in held_out), strict=True))
        qa_st, qb_st = torch.quantile(all_st, 0.9), torch.quantile(all_st, 0.995)
        qa_ae, qb_ae = torch.quantile(all_stae, 0.9), torch.quantile(all_stae, 0.995)
        np.testing.assert_allclose(detector.levels_, [[qa_st, qb_st], [qa_ae, qb_ae]], rtol=1e-3)
        found = detector.score(parts.test)
        for sample, map_, score in zip(parts.test, found.maps, found.scores, strict=True):
            map_st, map_stae = padded_maps(sample.image)
            map_st = 0.1 * (map_st - qa_st) / (qb_st - qa_st)
            map_stae = 0.1 * (map_stae - qa_ae) / (qb_ae - qa_ae)
            wanted = (0.5 * map_st + 0.5 * map_stae)[0, 0].numpy()
            np.testing.assert_allclose(map_, wanted, rtol=1e-3, atol=2e-3 * np.abs(wanted).max())
            assert score == pytest.approx(wanted.max(), rel=2e-3)


def test_a_tensors_resize_as_anomalibs_differs_by_less_than_a_gray_level(category):
    """Named as a deviation: Pillow rounds the resized image to 8 bits."""
    parts, _, _ = category
    settings = settings_like("efficientad-s-anomalib", category)
    framed = next(image_batches(parts.train, settings.frame, 2))
    floats = torch.stack([torch.from_numpy(np.array(opened(s.image))).permute(2, 0, 1) / 255 for s in parts.train[:2]])
    resized = interpolate(floats, (256, 256), mode="bilinear", antialias=True)
    off = (torch.from_numpy(framed).permute(0, 3, 1, 2) / 255 - resized).abs()
    assert off.max() < 1.01 / 255
    assert off.max() > 0


# ---- what both need


def test_validation_images_of_a_data_set_are_held_out_in_place_of_training_images(category):
    parts, _, _ = category
    settings = settings_like("efficientad-s-nelson1425", category, steps=1)
    detector = EfficientAD.from_settings(settings, "cpu")
    detector.validation = parts.test[:3]
    learned, held_out = detector._split(parts.train)
    assert (len(learned), [s.image for s in held_out]) == (12, [s.image for s in parts.test[:3]])
    detector.fit(parts.train)
    assert (detector.facts["learned from"], detector.facts["held out"]) == (12, 3)
    np.testing.assert_allclose(detector.held_out_scores(), detector.score(parts.test[:3]).scores, rtol=1e-4)
    assert isinstance(detector.calibrate(), Threshold)


def test_maps_of_the_files_size_are_refused_in_one_line_where_there_is_no_such_size_or_too_little_room(
    category, nelson, tmp_path, monkeypatch
):
    parts, _, _ = category
    settings = settings_like("efficientad-s-nelson1425", category, steps=1)
    with pytest.raises(OptionError, match="need a frame without a crop"):
        replace(settings, frame=replace(settings.frame, crop=256))
    save(np.zeros((290, 280, 3), np.uint8), tmp_path / "other.png")
    mixed = [*parts.train, replace(parts.train[0], image=tmp_path / "other.png")]
    with pytest.raises(DataError, match=r"is 300x280, .*other.png is 290x280: maps of the images' own size"):
        EfficientAD.from_settings(settings, "cpu").fit(mixed)
    monkeypatch.setattr("padim_nb.efficientad.detector.MAPS", 4 * 2 * math.prod(SIZE))
    with pytest.raises(OptionError, match=r"3 maps of 300x280, the images' own size, take 0\.0 GB"):
        nelson[0].score(nelson[4][:3])
    assert nelson[0].score(nelson[4][:2]).shape == (2, *SIZE)
