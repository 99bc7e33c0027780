"""PaDiM's published rows, against literal transcriptions of their programs: files to maps, scores and figures."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import mahalanobis
from torch.nn.functional import fold, interpolate, unfold

from padim_nb import evaluate, load_category
from padim_nb.data.maps import AnomalyMaps
from padim_nb.data.mvtec import Sample
from padim_nb.experiments.recipes import RECIPES, settings_of
from padim_nb.padim.detector import PaDiM

SIDE = 320
MEAN, STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
POSITIONS = 40  # of a map, drawn, whose distances are compared


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Five good images of their own size, one defect."""
    root, rng = tmp_path_factory.mktemp("root"), np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    for number in range(7):
        image = (
            120
            + 60 * np.sin(x / 9 + number)[..., None] * np.cos(y / 13)[..., None]
            + rng.normal(0, 20, (SIDE, SIDE, 3))
        )
        place = "train/good" if number < 5 else "test/good" if number == 5 else "test/spot"
        path = root / "part" / place / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(path)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[100:140, 60:110] = 255
    truth = root / "part" / "ground_truth" / "spot" / "6_mask.png"
    truth.parent.mkdir(parents=True)
    Image.fromarray(mask).save(truth)
    return load_category("part", root)


def four_neighbors(image, side):
    """A resize by bilinear interpolation between four neighbors, pixel centers aligned, whatever the scale."""
    image, height, width = np.asarray(image, np.float64), image.height, image.width
    rows, columns = ((np.arange(side) + 0.5) * n / side - 0.5 for n in (height, width))
    r, c = (np.clip(np.floor(at).astype(int), 0, n - 2) for at, n in ((rows, height), (columns, width)))
    t, s = (rows - r)[:, None, None], (columns - c)[None, :, None]
    upper = image[r][:, c] * (1 - s) + image[r][:, c + 1] * s
    lower = image[r + 1][:, c] * (1 - s) + image[r + 1][:, c + 1] * s
    return np.rint(upper * (1 - t) + lower * t).astype(np.uint8)


def pytorch_input(path):
    """The shorter side to 256 by LANCZOS, the middle 224 x 224, ImageNet's mean and deviation."""
    image = Image.open(path).convert("RGB").resize((256, 256), Image.Resampling.LANCZOS).crop((16, 16, 240, 240))
    return (torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 - MEAN) / STD


def anomalib_input(path):
    """256 x 256 by four neighbors, no crop, ImageNet's mean and deviation.

    OpenCV computes with 11 bits a weight, as `Frame` does: within one gray level of the formula, and what follows is
    compared from there on.
    """
    image = RECIPES["padim-r18-anomalib"].settings.frame.apply(np.array(Image.open(path).convert("RGB")))
    exact = four_neighbors(Image.open(path).convert("RGB"), 256)
    assert np.abs(image.astype(int) - exact).max() <= 1
    return (torch.from_numpy(image).permute(2, 0, 1).float() / 255 - MEAN) / STD


def joined(fine, coarse):
    """Each block of fine positions beside the coarse position it belongs to, by unfold and fold."""
    n, channels, height, width = fine.shape
    s = height // coarse.shape[2]
    blocks = unfold(fine, s, stride=s).view(n, channels, s * s, -1)
    others = coarse.flatten(2)[:, :, None].expand(-1, -1, s * s, -1)
    return fold(torch.cat([blocks, others], 1).flatten(1, 2), (height, width), s, stride=s)


def embedding(detector, x, channels, dimensions, seed):
    """(n, d, positions): the three layers joined, and the dimensions that Python's `random` draws from the seed."""
    with torch.inference_mode():
        first, second, third = detector.backbone(x)
    random.seed(seed)
    chosen = random.sample(range(channels), dimensions)
    return joined(joined(first, second), third)[:, chosen].flatten(2).numpy()


@pytest.mark.parametrize(
    ("recipe", "of_file", "side", "seed", "border"),
    [
        ("padim-r18-rd100", pytorch_input, 224, 1024, "reflect"),
        ("padim-r18-anomalib", anomalib_input, 256, 42, "mirror"),
    ],
)
def test_distances_maps_and_scores_are_those_of_the_program(recipe, of_file, side, seed, border, parts):
    detector = PaDiM.from_settings(settings_of(recipe, weights="random"), "cpu").fit(parts.train)
    train = embedding(detector, torch.stack([of_file(s.image) for s in parts.train]), 448, 100, seed)
    test = embedding(detector, torch.stack([of_file(s.image) for s in parts.test]), 448, 100, seed)
    with torch.inference_mode():
        framed = next(detector._batches(parts.test, "scoring"))[0]
        distances = detector.gaussians_.distances(framed).numpy()
    grid = side // 4
    for position in np.random.default_rng(0).integers(0, grid * grid, POSITIONS):
        mean = train[:, :, position].mean(0)
        inverse = np.linalg.inv(np.cov(train[:, :, position], rowvar=False) + 0.01 * np.identity(100))
        for number in range(2):
            wanted = mahalanobis(test[number, :, position], mean, inverse)
            assert distances[number].flat[position] == pytest.approx(wanted, rel=2e-3)
    maps = interpolate(torch.from_numpy(distances)[:, None], size=side, mode="bilinear", align_corners=False)[:, 0]
    wanted = np.stack([gaussian_filter(map_.numpy(), 4, mode=border) for map_ in maps])
    found = detector.score(parts.test)
    np.testing.assert_allclose(found.maps, wanted, rtol=1e-3)
    np.testing.assert_allclose(found.scores, wanted.max((1, 2)), rtol=1e-3)


def test_masks_of_the_program_are_resized_to_the_nearest_pixel_and_cropped_like_the_images(parts):
    defect = parts.test[1]
    mask = Image.open(defect.mask).resize((256, 256), Image.Resampling.NEAREST).crop((16, 16, 240, 240))
    maps = np.random.default_rng(0).random((2, 224, 224)).astype(np.float32)
    truth = np.asarray(mask) > 0
    frame = RECIPES["padim-r18-rd100"].settings.frame
    positive, negative = maps[1][truth], np.concatenate([maps[0].ravel(), maps[1][~truth]])
    wanted = np.mean(np.searchsorted(np.sort(negative), positive) / negative.size)
    assert evaluate(AnomalyMaps.of(maps, frame), parts.test).metrics["pixel_auroc"] == pytest.approx(wanted, abs=1e-6)


def test_the_good_wood_of_padim_tensorflow_counts_twice(parts, tmp_path):
    """Its list of wood's test folders has `good` twice: pixels of good images count double, the image AUROC stays."""
    wood = tmp_path / "wood" / "test"
    samples = []
    for sample in parts.test:
        path = wood / sample.defect / sample.image.name
        path.parent.mkdir(parents=True)
        path.symlink_to(sample.image)
        samples.append(Sample(path, sample.label, sample.defect, sample.mask))
    row = settings_of("padim-tf-net1")
    assert "good wood twice" in row.quirks
    settings = settings_of("padim-r18-rd100", weights="random")
    settings = replace(settings, frame=replace(settings.frame, resize=(64, 64), crop=None), quirks=("good wood twice",))
    detector = PaDiM.from_settings(settings, "cpu").fit(parts.train)
    maps = detector.score(samples)
    assert (len(maps), maps.counts.tolist()) == (2, [2, 1])
    once = evaluate(replace(maps, counts=None), samples).metrics
    doubled = replace(maps, counts=None)[[0, 0, 1]]
    literal = evaluate(doubled, [samples[0], *samples]).metrics
    twice = evaluate(maps, samples).metrics
    assert twice == literal
    assert twice["image_auroc"] == once["image_auroc"]
    assert twice["pixel_auroc"] != once["pixel_auroc"]
    assert detector.score(parts.test).counts is None, "of no other category"
