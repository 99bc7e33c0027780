"""A last convolution in closed form: no other weights have a lower squared error, the layers before it as they are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import unfold

from ..efficientad.pdn import Convolution

STRIDE = 2  # every so many rows and columns of places are taken: neighbors are alike


class LeastSquares:
    """The least-squares solution of a convolution, from sums over batches of images.

    At each place the convolution is linear in z, the patch of its input with a 1 for the bias, and should give y. With
    the sums A of z z^T and B of z y^T over all places that are taken, the weights W with the least mean of
    |y - W^T z|^2 + lambda |W|^2 solve (A + lambda I) W = B; lambda is `ridge` times the mean of A's diagonal.

    Args:
        layer: the convolution, with a stride of 1 and no padding.
        ridge: the larger, the smaller the weights.
    """

    def __init__(self, layer: Convolution, ridge: float) -> None:
        self.layer, self.ridge = layer, ridge
        inputs, outputs = layer.weight[0].numel() + 1, len(layer.weight)
        self.gram, self.cross = (layer.weight.new_zeros(inputs, n, dtype=torch.float64) for n in (inputs, outputs))

    @torch.no_grad()
    def add(self, x: Tensor, y: Tensor) -> None:
        """Count the places of a batch.

        Args:
            x: input of the convolution, (n, channels, height, width).
            y: what it should give, (n, filters, h, w).
        """
        patches = unfold(x.float(), self.layer.kernel_size, stride=STRIDE).transpose(0, 1).flatten(1)
        patches = torch.cat([patches, patches.new_ones(1, patches.shape[1])])
        wanted = y.float()[:, :, ::STRIDE, ::STRIDE].transpose(0, 1).flatten(1)
        self.gram += (patches @ patches.T).double()
        self.cross += (patches @ wanted.T).double()

    @torch.no_grad()
    def solve(self) -> None:
        """Give the layer its solution."""
        damped = self.gram.clone()
        damped.diagonal().add_(self.ridge * damped.diagonal().mean())
        solution = torch.cholesky_solve(self.cross, torch.linalg.cholesky(damped)).T
        self.layer.weight.copy_(solution[:, :-1].reshape(self.layer.weight.shape))
        self.layer.bias.copy_(solution[:, -1])
