"""The solved layer has the least squared error; the steps train the autoencoder alone."""

from dataclasses import replace

import pytest
import torch
from small_training import fresh

from padim_nb.efficientad import pdn
from padim_nb.efficientad.teacher import standardized
from padim_nb.least_squares.detector import LeastSquaresStudent
from padim_nb.least_squares.settings import LeastSquaresSettings

SETTINGS = LeastSquaresSettings(width=0.25, ridge=1e-6, steps=3, drop_at=0.5, precision="float32")


def images_of(count):
    return torch.randint(0, 256, (count, 256, 256, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def unfitted(settings=SETTINGS):
    """(detector, its networks, images, the teacher's outputs): two images."""
    detector, images = LeastSquaresStudent(settings), images_of(2)
    teacher, targets = standardized(fresh(settings.size)[0], images, 2 << 30)
    return detector, detector._networks((256, 256), teacher), images, targets


@pytest.mark.parametrize("stored", [0, 1, 2])
def test_the_solved_layer_has_the_least_squared_error_at_the_places_it_is_solved_for(stored, narrow):
    detector, model, images, targets = unfitted()
    detector._solve_student(model, images, targets[:stored])
    x = pdn.inputs(images)
    with torch.no_grad():
        wanted = torch.cat([model.teacher(x), model.pair.autoencoder(x)], 1)
    student = model.pair.student.requires_grad_(True)

    def error():
        return (student(x) - wanted)[..., ::2, ::2].square().mean()

    least = error()
    least.backward()
    assert student.last.bias.grad.abs().max() < 1e-4 * wanted.square().mean()
    assert least < 0.9 * wanted.square().mean(), "it has learned something"
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for scale in (1e-2, 1e-1):
            kept = student.last.weight.clone()
            student.last.weight += scale * kept.std() * torch.randn(kept.shape, generator=generator)
            assert error() > least
            student.last.weight.copy_(kept)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_steps_train_the_autoencoder_alone_by_adam_on_the_squared_distance(precision, narrow):
    detector, model, images, targets = unfitted(replace(SETTINGS, precision=precision))
    model.pair.autoencoder.center.normal_(generator=torch.Generator().manual_seed(2))
    student = {key: value.clone() for key, value in model.pair.student.state_dict().items()}
    plain = detector._networks((256, 256), model.teacher).pair.autoencoder
    plain.center.copy_(model.pair.autoencoder.center)
    adam = torch.optim.Adam(plain.parameters(), weight_decay=1e-5, foreach=True)
    losses = []
    for step in range(3):
        turn, place = divmod(step, 2)
        index = int(torch.randperm(2, generator=torch.Generator().manual_seed(43 * 1_000_003 + turn))[place])
        dropout = torch.Generator().manual_seed(42 * 1_000_003 + step)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            rebuilt = plain(pdn.inputs(images[index : index + 1]), dropout)
        losses.append((targets[index] - rebuilt.float()).square().mean())
        adam.param_groups[0]["lr"] = 2e-3 if step < 1 else 2e-4
        adam.zero_grad()
        losses[-1].backward()
        adam.step()
    assert detector._train_autoencoder(model, images, targets) == pytest.approx(losses[-1].item(), abs=1e-5)
    for wanted, value in zip(plain.parameters(), model.pair.autoencoder.parameters(), strict=True):
        assert torch.equal(wanted, value)
    assert all(torch.equal(student[key], value) for key, value in model.pair.student.state_dict().items())


def test_the_random_layers_keep_the_scale_of_what_passes_through():
    detector = LeastSquaresStudent(LeastSquaresSettings())
    student, x = detector._networks((256, 256)).pair.student, pdn.inputs(images_of(1))
    with torch.inference_mode():
        assert 0.3 < student.trunk(x).square().mean() / x.square().mean() < 3
    again = detector._networks((256, 256)).pair.student
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in student.state_dict().items())
