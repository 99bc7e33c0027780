"""Weighed differences: a Mahalanobis distance, and maps that are standardized at each place."""

import torch
from small_training import fresh

from padim_nb.efficientad import pdn, weighing
from padim_nb.efficientad.model import AnomalyMapModel
from padim_nb.efficientad.teacher import standardized


def test_the_students_map_is_a_mahalanobis_distance_and_its_places_are_standardized(narrow):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 256, 256, 3), dtype=torch.uint8, generator=generator)
    teacher, pair = fresh()
    teacher, targets = standardized(teacher, images, 2 << 30)
    pair.eval()
    x = pdn.inputs(images)
    with torch.inference_mode():
        differences = (teacher(x) - pair.student(x)[:, :384]).double()
        rebuilt = (pair.autoencoder(x) - pair.student(x)[:, 384:]).square().mean(1)
    rows = differences[..., ::2, ::2].transpose(0, 1).flatten(1)
    covariance = rows.cov()
    covariance += weighing.EPS * covariance.diagonal().mean() * torch.eye(384)
    model = AnomalyMapModel(teacher, pair, "replicate", (256, 256), places=True).eval()
    weighing.weigh(model, images, targets)
    with torch.inference_mode():
        maps = model.raw(images)
    raw = maps * model.deviation + model.mean
    for image, row, column in ((0, 5, 7), (3, 55, 0), (2, 31, 40)):
        delta = differences[image, :, row, column] - rows.mean(1)
        distance = delta @ torch.linalg.solve(covariance, delta) / 384
        torch.testing.assert_close(raw[image, 0, row, column].double(), distance, rtol=2e-2, atol=0)
    torch.testing.assert_close(raw[:, 1], rebuilt, rtol=1e-3, atol=1e-4)
    assert maps.mean((0, 2, 3)).abs().max() < 0.1
    assert (maps.std((0, 2, 3)) - 1).abs().max() < 0.2
