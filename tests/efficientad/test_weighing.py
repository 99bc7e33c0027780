"""Weighed differences: Mahalanobis distances, maps that are standardized at each place, what each map counts."""

import pytest
import torch
from small_training import fresh

from padim_nb.efficientad import pdn, weighing
from padim_nb.efficientad.model import AnomalyMapModel
from padim_nb.efficientad.teacher import standardized


@pytest.fixture
def weighed(narrow):
    """(model, differences of the two pairs before, the teacher's outputs before, images, shares)."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 256, 256, 3), dtype=torch.uint8, generator=generator)
    teacher, pair = fresh()
    teacher, targets = standardized(teacher, images[:4], 2 << 30)
    pair.eval()
    x = pdn.inputs(images)
    with torch.inference_mode():
        target, student, rebuilt = teacher(x), pair.student(x), pair.autoencoder(x)
    model = AnomalyMapModel(teacher, pair, "replicate", (256, 256), places=True).eval()
    shares = weighing.weigh(model, images[:4], targets, images[4:])
    differences = [(target - student[:, :384]).double(), (rebuilt - student[:, 384:]).double()]
    return model, differences, target, images, shares


def test_both_maps_are_mahalanobis_distances_and_their_places_are_standardized(weighed):
    model, differences, _, images, _ = weighed
    with torch.inference_mode():
        maps = model.raw(images)
    raw = maps * model.deviation + model.mean
    for number, own in enumerate(differences):
        rows = own[..., ::2, ::2].transpose(0, 1).flatten(1)
        covariance = rows.cov()
        covariance += weighing.EPS * covariance.diagonal().mean() * torch.eye(384)
        for image, row, column in ((0, 5, 7), (3, 55, 0), (5, 31, 40)):
            delta = own[image, :, row, column] - rows.mean(1)
            distance = delta @ torch.linalg.solve(covariance, delta) / 384
            torch.testing.assert_close(raw[image, number, row, column].double(), distance, rtol=3e-2, atol=0)
    assert maps.mean((0, 2, 3)).abs().max() < 0.1
    assert (maps.std((0, 2, 3)) - 1).abs().max() < 0.2


def test_the_autoencoders_map_counts_as_far_as_it_notices_that_images_were_moved(weighed, monkeypatch):
    model, _, target, images, shares = weighed
    assert sum(shares) == pytest.approx(1)
    assert shares[0] >= 0.5
    model.set_levels([(0.0, 1.0), (0.0, 1.0)], (0.75, 0.25))
    assert torch.allclose(model.factor, torch.tensor([0.075, 0.025]))
    assert weighing.weigh(model, images[:4], list(target[:4].split(1)), images[:0]) == (0.5, 0.5)
    images[:, 0, 0], images[:, 16, 16] = 255, 0

    for brighter, noticed in ((1.0, 1.0), (-1.0, 0.0)):
        moved = brighter * (torch.arange(2)[:, None, None] == 1)  # in the autoencoder's map
        monkeypatch.setattr(
            model, "raw", lambda shown, moved=moved: moved.expand(1, 2, 56, 56) * float(shown[0, 16, 16, 0] == 255)
        )
        assert weighing._moved_noticed(model, images) == noticed
