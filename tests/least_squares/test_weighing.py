"""Weighed differences: a Mahalanobis distance, maps that are standardized at each place, what each map counts."""

import pytest
import torch
from scipy.ndimage import gaussian_filter
from small_training import fresh

from padim_nb.efficientad import pdn
from padim_nb.efficientad.teacher import standardized
from padim_nb.least_squares import weighing
from padim_nb.least_squares.model import CenteredAutoencoder, WeighedMaps


@pytest.fixture
def weighed(narrow):
    """(model, the networks' outputs before, images): learned from four, weighed over two more."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 256, 256, 3), dtype=torch.uint8, generator=generator)
    teacher, pair = fresh()
    teacher, targets = standardized(teacher, images[:4], 2 << 30)
    pair.eval()
    x = pdn.inputs(images)
    with torch.inference_mode():
        outputs = teacher(x), pair.student(x), pair.autoencoder(x)
    model = WeighedMaps(teacher, pair, "replicate", (256, 256)).eval()
    weighing.weigh(model, images[:4], targets, images[4:])
    return model, outputs, images


def test_the_students_map_is_a_mahalanobis_distance_and_its_places_are_standardized(weighed):
    model, (target, student, rebuilt), images = weighed
    differences = (target - student[:, :384]).double()
    rows = differences[..., ::2, ::2].transpose(0, 1).flatten(1)
    covariance = rows.cov()
    covariance += weighing.EPS * covariance.diagonal().mean() * torch.eye(384)
    with torch.inference_mode():
        blurred = model.raw(images)
        line = model.blur[0, 0, 3]
        model.blur.zero_()[:, :, 3, 3] = 1.0  # the blur is looked at below
        maps = model.raw(images)
    raw = maps * model.deviation + model.mean
    for image, row, column in ((0, 5, 7), (3, 55, 0), (5, 31, 40)):
        delta = differences[image, :, row, column] - rows.mean(1)
        distance = delta @ torch.linalg.solve(covariance, delta) / 384
        torch.testing.assert_close(raw[image, 0, row, column].double(), distance, rtol=2e-2, atol=0)
    torch.testing.assert_close(raw[:, 1], (rebuilt - student[:, 384:]).square().mean(1), rtol=1e-3, atol=1e-4)
    assert maps.mean((0, 2, 3)).abs().max() < 0.1
    assert (maps.std((0, 2, 3)) - 1).abs().max() < 0.2
    smooth = gaussian_filter(maps.numpy(), (0, 0, 1, 1), mode="mirror", truncate=3.0)
    assert line.shape == (7,)
    torch.testing.assert_close(blurred, torch.from_numpy(smooth), rtol=1e-3, atol=1e-3)


def test_the_autoencoders_map_counts_where_it_notices_that_images_were_moved(weighed, monkeypatch):
    model, (target, _, _), images = weighed
    images[:, 16, 16] = 0
    images[:, 0, 0] = 255
    marks = torch.rand(6, 56, 56, generator=torch.Generator().manual_seed(1))
    images[:, 0, 1, 0] = torch.arange(6, dtype=torch.uint8)
    for brighter, notices in ((10.0, True), (-0.5, False)):  # what the autoencoder's map gets where an image was moved

        def outputs(x, brighter=brighter):
            moved = x[0, 0, 16, 16] > 2  # white
            row, column = (16, 17) if moved else (0, 1)
            number = round((float(x[0, 0, row, column]) * 0.229 + 0.485) * 255)
            return model.pair.student(x)[:, 384:] + (1 + marks[number] + brighter * float(moved)).sqrt()

        monkeypatch.setattr(model.pair.autoencoder, "forward", outputs)
        weighing.weigh(model, images[:4], list(target[:4].split(1)), images[4:])
        with torch.inference_mode():
            still, moved = (
                torch.cat([model.raw(image[None]) for image in batch])
                for batch in (images[4:], images[4:].roll((16, 16), (1, 2)))
            )
            assert weighing._moved(model, images[4:], still[:, 1]) == (1.0 if notices else 0.0)
        spread = still.amax((2, 3)).std(0)
        inner = slice(12, -12)
        assert (moved[:, 1, inner, inner].amax((1, 2)) > still[:, 1, inner, inner].amax()).all() == notices
        assert model.weights[0] == pytest.approx(1 / float(spread[0]), rel=2e-2)
        assert model.weights[1] == pytest.approx(1 / float(spread[1]) if notices else 0.0, rel=2e-2)
    for few in (images[:0], images[4:5]):
        model.weights = None
        weighing.weigh(model, images[:4], list(target[:4].split(1)), few)
        assert model.weights is None


def test_shares_are_what_the_weights_give_once_maps_are_scaled_by_their_quantiles(weighed):
    model, levels = weighed[0], [[0.0, 2.0], [1.0, 1.5]]

    def shares(weights):
        model.weights, model.shares = weights, (0.5, 0.5)
        model.set_levels(levels)
        wanted = [share * 0.1 / (high - low) for share, (low, high) in zip(model.shares, levels, strict=True)]
        assert torch.allclose(model.factor, torch.tensor(wanted))
        return model.shares

    assert shares(None) == (0.5, 0.5)
    assert shares((3.0, 0.0)) == (1.0, 0.0)
    student, autoencoder = shares((3.0, 4.0))
    assert student / 2.0 == pytest.approx(autoencoder / 0.5 * 3.0 / 4.0)
    assert student + autoencoder == pytest.approx(1.0)


@pytest.mark.parametrize("kept", [0, 2, 4])
def test_an_autoencoder_with_a_center_gives_what_differs_from_the_mean_of_each_place(kept, narrow):
    images = torch.randint(0, 256, (4, 256, 256, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    teacher, pair = fresh()
    teacher, targets = standardized(teacher, images, 2 << 30)
    means = weighing.place_means(teacher, images, targets[:kept])
    wanted = torch.cat(targets).mean(0)
    smooth = gaussian_filter(wanted.numpy(), (0, 1, 1), mode="mirror", truncate=4.0)
    torch.testing.assert_close(means, torch.from_numpy(smooth), rtol=1e-3, atol=1e-3)
    centered = CenteredAutoencoder((56, 56)).eval()
    missing = centered.load_state_dict(pair.autoencoder.state_dict(), strict=False).missing_keys
    assert missing == ["center"]
    centered.center.copy_(means)
    x = pdn.inputs(images[:1])
    with torch.inference_mode():
        torch.testing.assert_close(centered(x)[0], pair.autoencoder.eval()(x)[0] + means)
