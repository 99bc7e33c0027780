"""Weighed differences: a Mahalanobis distance, maps that are standardized at each place, what each map counts."""

import pytest
import torch
from small_training import fresh

from padim_nb.efficientad import pdn, weighing
from padim_nb.efficientad.model import AnomalyMapModel
from padim_nb.efficientad.teacher import standardized


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
    model = AnomalyMapModel(teacher, pair, "replicate", (256, 256), places=True).eval()
    weighing.weigh(model, images[:4], targets, images[4:])
    return model, outputs, images


def test_the_students_map_is_a_mahalanobis_distance_and_its_places_are_standardized(weighed):
    model, (target, student, rebuilt), images = weighed
    differences = (target - student[:, :384]).double()
    rows = differences[..., ::2, ::2].transpose(0, 1).flatten(1)
    covariance = rows.cov()
    covariance += weighing.EPS * covariance.diagonal().mean() * torch.eye(384)
    with torch.inference_mode():
        maps = model.raw(images)
    raw = maps * model.deviation + model.mean
    for image, row, column in ((0, 5, 7), (3, 55, 0), (5, 31, 40)):
        delta = differences[image, :, row, column] - rows.mean(1)
        distance = delta @ torch.linalg.solve(covariance, delta) / 384
        torch.testing.assert_close(raw[image, 0, row, column].double(), distance, rtol=2e-2, atol=0)
    torch.testing.assert_close(raw[:, 1], (rebuilt - student[:, 384:]).square().mean(1), rtol=1e-3, atol=1e-4)
    assert maps.mean((0, 2, 3)).abs().max() < 0.1
    assert (maps.std((0, 2, 3)) - 1).abs().max() < 0.2


def test_the_autoencoders_map_counts_where_it_notices_that_images_were_moved(weighed, monkeypatch):
    model, (target, _, _), images = weighed
    images[:, 0, 0], images[:, 16, 16] = 255, 0
    for brighter, auroc in ((1.0, 1.0), (-1.0, 0.0)):
        moved = brighter * (torch.arange(2)[:, None, None] == 1)  # in the autoencoder's map
        monkeypatch.setattr(
            model, "raw", lambda shown, moved=moved: moved.expand(1, 2, 56, 56) * float(shown[0, 16, 16, 0] == 255)
        )
        assert weighing._moved(model, images) == auroc
        shares = weighing.weigh(model, images[:4], list(target[:4].split(1)), images[4:])
        assert shares == ((0.5, 0.5) if auroc else (1.0, 0.0))
    assert weighing.weigh(model, images[:4], list(target[:4].split(1)), images[:0]) == (0.5, 0.5)


def test_levels_scale_each_map_by_its_share(weighed):
    model, _, _ = weighed
    model.set_levels([(0.0, 1.0), (0.0, 1.0)], (0.75, 0.25))
    assert torch.allclose(model.factor, torch.tensor([0.075, 0.025]))
