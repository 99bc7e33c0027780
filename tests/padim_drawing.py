"""Features drawn at random, for the tests of Gaussians."""

import numpy as np
import reference
import torch

# (channels, height, width) of each layer, coarse to fine
LAYOUTS = {
    "three layers": ((7, 2, 3), (5, 4, 6), (3, 8, 12)),
    "two layers, ratio 4": ((6, 2, 2), (4, 8, 8)),
    "one layer": ((9, 5, 7),),
    "more channels than images": ((30, 2, 2), (25, 4, 4)),
    "one layer, more channels than images": ((30, 3, 3),),
    "many cells": ((12, 3, 4), (5, 6, 8), (3, 12, 16)),
}


def draw(layout, n, seed=0, scale=1.0):
    """Correlated features [(n, c, h, w)], coarse to fine."""
    generator = torch.Generator().manual_seed(seed)
    features = []
    for c, h, w in layout:
        mixing = torch.randn(c, c, generator=torch.Generator().manual_seed(c))
        layer = torch.einsum("nchw,cd->ndhw", torch.randn(n, c, h, w, generator=generator), mixing) * 0.7 + 2.0
        features.append(layer * scale)
    return features


def flat(features):
    """The patch vectors, up-sampled: float64 (n, d, positions)."""
    size = tuple(features[-1].shape[-2:])
    return np.concatenate([reference.up(layer.double().numpy(), size) for layer in features], 1).reshape(
        len(features[0]), -1, size[0] * size[1]
    )


def largest_error(fitted, train, test):
    """The largest difference from the dense float64 distances, as a share of the largest distance."""
    distances = fitted.distances(test)
    wanted = reference.distances(flat(train), flat(test)).reshape(distances.shape)
    return np.abs(distances.numpy() - wanted).max() / wanted.max()
