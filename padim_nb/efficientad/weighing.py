"""What a difference of two networks weighs: by how the differences vary over good images.

The paper weighs all channels, all places and both maps alike. After few steps the networks are wrong in some directions
and at some places of good images too: there, a difference says less. And the autoencoder's map is there for what is at
the wrong place: where it does not notice that a whole image was moved, as with parts that lie anyhow, it says less.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from ..evaluation.metrics import Ranks
from . import pdn
from .model import AnomalyMapModel
from .pdn import CHANNELS

EPS = 0.01  # of the mean variance, added to each
KERNEL, SIGMA = 17, 2.0  # of the blur over places, in patches: neighbors are alike, and images are few
SPREAD = 1e-6  # the least deviation of a map at a place
MOVED = 16  # pixels by which an image is moved, down and to the right
MARGIN = 12  # patches at the border that a moved image's own edge can reach


@torch.no_grad()
def weigh(model: AnomalyMapModel, images: Tensor, targets: Sequence[Tensor], others: Tensor) -> tuple[float, float]:
    """Whiten both differences, standardize both maps at each place, and say what each map counts.

    With the mean m and the covariance C = L L^T of T - S over images and places, T - S becomes L^-1 (T - S - m): its
    mean square is the Mahalanobis distance. A - S becomes the same with its own m and C. Both go into the last
    convolutions. Mean and deviation of the maps at each place go into `mean` and `deviation` of the model.

    Args:
        model: with `places`; changed.
        images: uint8 (n, height, width, 3), that were learned from.
        targets: the teacher's outputs (1, 384, h, w) for the first of them; images without one are not used.
        others: good images that were not learned from, uint8 (m, height, width, 3); may be none.

    Returns:
        The shares of the student's map and of the autoencoder's, with a sum of 1. They count alike where the
        autoencoder's map separates all moved images of `others` from those as they are, or where there are none; the
        student's counts alone where it separates none.
    """
    student = model.pair.student.last
    differences: tuple[list[Tensor], list[Tensor]] = ([], [])
    images = images[: len(targets)]
    for number, image in enumerate(torch.cat([images, others])):
        x = pdn.inputs(image[None])
        target = targets[number] if number < len(images) else model.teacher(x)
        at_teacher, at_autoencoder = model.pair.student(x).split(CHANNELS, 1)
        rebuilt = model.pair.autoencoder(x)
        differences[0].append((target - at_teacher).half())
        differences[1].append((rebuilt - at_autoencoder).half())
    maps = []
    for number, (own, layer) in enumerate(
        zip(differences, (model.teacher.last, model.pair.autoencoder.last), strict=True)
    ):
        rows = slice(number * CHANNELS, (number + 1) * CHANNELS)
        whitening, mean = _whitening(own)
        student.bias[rows] += mean
        _transform(student, rows, whitening)
        _transform(layer, slice(CHANNELS), whitening)
        whitened = (torch.einsum("dc,nchw->ndhw", whitening, d.float() - mean[:, None, None]) for d in own)
        maps.append(torch.cat([d.square().mean(1) for d in whitened]))
    both = torch.stack(maps, 1)
    model.mean.copy_(gaussian_blur(both.mean(0), KERNEL, SIGMA))
    variance = gaussian_blur((both - model.mean).square().mean(0), KERNEL, SIGMA)
    model.deviation.copy_(variance.sqrt().clamp(min=SPREAD))
    noticed = _moved_noticed(model, others) if len(others) else 1.0
    return 1 / (1 + noticed), noticed / (1 + noticed)


def _moved_noticed(model: AnomalyMapModel, images: Tensor) -> float:
    """How far the autoencoder's map separates moved images from those as they are: 0 by chance or worse, 1 for all."""
    inner = slice(MARGIN, -MARGIN)
    still, moved = (
        torch.cat([model.raw(image[None])[:, 1, inner, inner].amax((1, 2)) for image in batch]).cpu().numpy()
        for batch in (images, images.roll((MOVED, MOVED), (1, 2)))
    )
    return max(0.0, 2 * Ranks.of(still, moved).auroc() - 1)


def _whitening(differences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(L^-1, m) of differences (1, 384, h, w), over images and every second place."""
    rows = torch.cat([d[0, :, ::2, ::2].flatten(1) for d in differences], 1).double()
    covariance = torch.cov(rows)
    covariance.diagonal().add_(EPS * covariance.diagonal().mean())
    return torch.linalg.inv(torch.linalg.cholesky(covariance)).float(), rows.mean(1).float()


def _transform(layer: pdn.Convolution, rows: slice, matrix: Tensor) -> None:
    """Put a linear map of these outputs into a convolution."""
    weight, bias = layer.weight[rows], layer.bias[rows]
    weight.copy_((matrix @ weight.flatten(1)).view_as(weight))
    bias.copy_(matrix @ bias)
