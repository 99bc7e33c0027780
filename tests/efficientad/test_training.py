"""The losses are the paper's algorithm word for word, in float64."""

import numpy as np
import pytest
import torch
from small_training import fresh
from torch.nn.functional import relu

from padim_nb.efficientad import pdn
from padim_nb.efficientad.settings import Training
from padim_nb.efficientad.training import StudentTrainer, hardest, jitter, losses
from padim_nb.features.backbones import normalized


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
def test_one_step_has_the_loss_terms_and_gradients_of_the_literal_algorithm(size, narrow):
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
