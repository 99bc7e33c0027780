"""The losses are the paper's algorithm word for word, in float64."""

import numpy as np
import pytest
import torch
from small_training import NARROW, fresh
from torch.nn.functional import relu

from padim_nb.efficientad import pdn
from padim_nb.efficientad.checkpoints import generator
from padim_nb.efficientad.settings import Training
from padim_nb.efficientad.teacher import standardized
from padim_nb.efficientad.training import StudentTrainer, hardest, image_of_step, jitter, losses
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


@pytest.mark.parametrize(("memory", "count"), [(2 << 30, 5), (3 * 384 * 56 * 56 * 4, 3), (8, 0)])
def test_the_teachers_outputs_are_stored_as_far_as_they_fit(memory, count):
    teacher, pair = fresh()
    images = torch.randint(0, 256, (5, 256, 256, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    scaled, targets = standardized(teacher, images, memory)
    assert len(targets) == count
    trainer = StudentTrainer(scaled, pair, images, None, Training(), targets)
    for index in range(5):
        x = normalized(images[index : index + 1].permute(0, 3, 1, 2).float() / 255)
        with torch.no_grad():
            torch.testing.assert_close(trainer._target(index, x), scaled(x), rtol=0, atol=1e-4)
        assert (trainer._target(index, x) is trainer._target(index, x)) == (index < count)


def written_out(trainer, adam, step):
    """A step with autocast's own casts, new generators, and a rate that is a number."""
    t, pair, rng, dropout = trainer.training, trainer.pair, generator(42, step), generator(42, step)
    index = image_of_step(step, len(trainer.images), 42)
    image = trainer.images[index : index + 1].permute(0, 3, 1, 2).float() / 255
    with torch.autocast("cpu", torch.bfloat16, enabled=t.bf16):
        jittered = jitter(image, rng)
        batch = normalized(torch.cat([image, *trainer._penalty(rng), jittered]))
        with torch.no_grad():
            target, target_jittered = (trainer.teacher(x).float() for x in (batch[:1], batch[-1:]))
        loss = losses(pair, target, target_jittered, batch, t.hard, dropout).total
    adam.param_groups[0]["lr"] = t.rate * (0.1 if step >= 1 else 1.0)
    adam.zero_grad()
    loss.backward()
    adam.step()


@pytest.mark.parametrize("bf16", [False, True])
def test_steps_resumed_too_have_the_bits_of_those_written_out(bf16, tmp_path, monkeypatch):
    monkeypatch.setitem(pdn._LAYERS, "small", NARROW)
    images = torch.randint(0, 256, (2, 256, 256, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    training = Training(steps=3, rate=1e-3, drop_at=0.5, bf16=bf16)
    plain, first, second = (StudentTrainer(*fresh(), images, images.flip(0), training) for _ in range(3))
    adam = torch.optim.Adam(plain.pair.parameters(), weight_decay=1e-5, foreach=True)
    for step in range(3):
        written_out(plain, adam, step)

    def stopped(step):
        if step == 2:
            raise KeyboardInterrupt
        return StudentTrainer.step(first, step)

    first.step = stopped
    with pytest.raises(KeyboardInterrupt):
        first.run(tmp_path / "checkpoint.safetensors", {}, minutes=0.0)
    second.run(tmp_path / "checkpoint.safetensors", {})
    for wanted, found in zip(plain.pair.parameters(), second.pair.parameters(), strict=True):
        assert torch.equal(wanted, found)
