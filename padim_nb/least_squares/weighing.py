"""What a difference of two networks weighs: by how the differences vary over good images.

EfficientAD weighs all channels, all places and both maps alike. After few steps the networks are wrong in some
directions and at some places of good images too: there, a difference says less. A map whose largest value differs much
between good images says less too. And the autoencoder's map is there for what is at the wrong place: where it does not
notice that whole images were moved, as with parts that lie anyhow, it says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from ..efficientad import pdn
from ..efficientad.pdn import CHANNELS
from ..evaluation.metrics import Ranks
from .model import WeighedMaps

EPS = 0.01  # of the mean variance, added to each
KERNEL, SIGMA = 17, 2.0  # of the blur over places, in patches: neighbors are alike, and images are few
MEANS_KERNEL, MEANS_SIGMA = 9, 1.0  # of the blur of the teacher's means
SPREAD = 1e-6  # the least deviation of a map at a place
MOVED = 16  # pixels by which an image is moved, down and to the right
MARGIN = 12  # patches at the border that a moved image's own edge can reach
NOTICED = 0.75  # the least AUROC of moved images against those as they are: half-way from chance to all


@torch.no_grad()
def weigh(model: WeighedMaps, images: Tensor, targets: Sequence[Tensor], others: Tensor) -> None:
    """Whiten the differences of teacher and student, standardize both maps at each place, weigh both maps.

    With the mean m and the covariance C = L L^T of T - S over images and places, T - S becomes L^-1 (T - S - m): its
    mean square is the Mahalanobis distance. This goes into the last convolutions of both. Mean and deviation of the
    maps at each place go into `mean` and `deviation` of the model.

    Its `weights` are such that over `others` the largest value of an image varies alike in both maps; the autoencoder's
    is 0 where its map does not separate moved images of `others` from those as they are. With less than two others both
    maps count alike.

    Args:
        model: changed.
        images: uint8 (n, height, width, 3), that were learned from.
        targets: the teacher's outputs (1, 384, h, w) for the first of them; images without one are not used.
        others: good images that were not learned from, uint8 (m, height, width, 3).
    """
    teacher, last = model.teacher.last, model.pair.student.last
    differences, rebuilt = [], []
    images = images[: len(targets)]
    for number, image in enumerate(torch.cat([images, others])):
        x = pdn.inputs(image[None])
        target = targets[number] if number < len(images) else model.teacher(x)
        at_teacher, at_autoencoder = model.pair.student(x).split(CHANNELS, 1)
        differences.append((target - at_teacher).half())
        rebuilt.append((model.pair.autoencoder(x) - at_autoencoder).square().mean(1))
    rows = torch.cat([d[0, :, ::2, ::2].flatten(1) for d in differences], 1).double()
    covariance = torch.cov(rows)
    covariance.diagonal().add_(EPS * covariance.diagonal().mean())
    whitening = torch.linalg.inv(torch.linalg.cholesky(covariance)).float()
    mean = rows.mean(1).float()
    last.bias[:CHANNELS] += mean
    for layer in (teacher, last):
        _transform(layer, whitening)
    distances = [
        torch.einsum("dc,nchw->ndhw", whitening, d.float() - mean[:, None, None]).square().mean(1) for d in differences
    ]
    maps = torch.stack([torch.cat(distances), torch.cat(rebuilt)], 1)
    model.mean.copy_(gaussian_blur(maps.mean(0), KERNEL, SIGMA))
    variance = gaussian_blur((maps - model.mean).square().mean(0), KERNEL, SIGMA)
    model.deviation.copy_(variance.sqrt().clamp(min=SPREAD))
    if len(others) >= 2:
        maps = model.at_places(maps[len(images) :])
        student, autoencoder = (1 / maps.amax((2, 3)).std(0).clamp(min=SPREAD)).tolist()
        model.weights = student, autoencoder if _moved(model, others, maps[:, 1]) >= NOTICED else 0.0


@torch.no_grad()
def place_means(teacher: pdn.PatchDescription, images: Tensor, outputs: Sequence[Tensor]) -> Tensor:
    """The teacher's mean output at each place, (384, h, w), blurred a little as images are few.

    Args:
        teacher: standardized.
        images: uint8 (n, height, width, 3).
        outputs: the teacher's (1, 384, h, w) for the first of the images, as far as they are kept.
    """
    later = (teacher(pdn.inputs(image[None])) for image in images[len(outputs) :])
    total = sum(output[0] for output in chain(outputs, later))
    return gaussian_blur(total / len(images), MEANS_KERNEL, MEANS_SIGMA)


def _moved(model: WeighedMaps, images: Tensor, maps: Tensor) -> float:
    """The AUROC of the autoencoder's map for moved images against those as they are, whose maps (n, h, w) are given."""
    moved = []
    for image in images.roll((MOVED, MOVED), (1, 2)):
        x = pdn.inputs(image[None])
        distances = (model.pair.autoencoder(x) - model.pair.heads(x, 0)[1]).square().mean(1)
        moved.append(model.at_places(distances[:, None], 1)[:, 0])
    inner = slice(MARGIN, -MARGIN)
    good, bad = (m[:, inner, inner].amax((1, 2)).cpu().numpy() for m in (maps, torch.cat(moved)))
    return Ranks.of(good, bad).auroc()


def _transform(layer: pdn.Convolution, matrix: Tensor) -> None:
    """Put a linear map of the first 384 outputs into a convolution."""
    weight, bias = layer.weight[:CHANNELS], layer.bias[:CHANNELS]
    weight.copy_((matrix @ weight.flatten(1)).view_as(weight))
    bias.copy_(matrix @ bias)
