"""What a difference of teacher and student weighs: by how the differences vary over the images that were learned from.

The paper weighs all channels and all places alike. After few steps a student is wrong in some directions and at some
places of good images too: there, a difference says less.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from . import pdn
from .model import AnomalyMapModel
from .pdn import CHANNELS

EPS = 0.01  # of the mean variance, added to each
KERNEL, SIGMA = 17, 2.0  # of the blur over places, in patches: neighbors are alike, and images are few
SPREAD = 1e-6  # the least deviation of a map at a place


@torch.no_grad()
def weigh(model: AnomalyMapModel, images: Tensor, targets: Sequence[Tensor]) -> None:
    """Whiten the differences of teacher and student, and standardize both maps at each place.

    With the mean m and the covariance C = L L^T of T - S over images and places, T - S becomes L^-1 (T - S - m): its
    mean square is the Mahalanobis distance. This goes into the last convolutions of both. Mean and deviation of the
    maps at each place go into `mean` and `deviation` of the model.

    Args:
        model: with `places`; changed.
        images: uint8 (n, height, width, 3), that were learned from.
        targets: the teacher's outputs (1, 384, h, w) for the first of them; the others are not used.
    """
    teacher, student = model.teacher.last, model.pair.student.last
    differences, rebuilt = [], []
    for image, target in zip(images, targets, strict=False):
        x = pdn.inputs(image[None])
        at_teacher, at_autoencoder = model.pair.student(x).split(CHANNELS, 1)
        differences.append((target - at_teacher).half())
        rebuilt.append((model.pair.autoencoder(x) - at_autoencoder).square().mean(1))
    rows = torch.cat([d[0, :, ::2, ::2].flatten(1) for d in differences], 1).double()
    covariance = torch.cov(rows)
    covariance.diagonal().add_(EPS * covariance.diagonal().mean())
    whitening = torch.linalg.inv(torch.linalg.cholesky(covariance)).float()
    mean = rows.mean(1).float()
    student.bias[:CHANNELS] += mean
    for layer in (teacher, student):
        _transform(layer, whitening)
    distances = [
        torch.einsum("dc,nchw->ndhw", whitening, d.float() - mean[:, None, None]).square().mean(1) for d in differences
    ]
    maps = torch.stack([torch.cat(distances), torch.cat(rebuilt)], 1)
    model.mean.copy_(gaussian_blur(maps.mean(0), KERNEL, SIGMA))
    variance = gaussian_blur((maps - model.mean).square().mean(0), KERNEL, SIGMA)
    model.deviation.copy_(variance.sqrt().clamp(min=SPREAD))


def _transform(layer: pdn.Convolution, matrix: Tensor) -> None:
    """Put a linear map of the first 384 outputs into a convolution."""
    weight, bias = layer.weight[:CHANNELS], layer.bias[:CHANNELS]
    weight.copy_((matrix @ weight.flatten(1)).view_as(weight))
    bias.copy_(matrix @ bias)
