"""Solution of the project `coreset`: each time the vector that is farthest from those chosen."""

import numpy as np


def coreset(vectors, k, first):
    """k indices, one distance to every vector for each: n k steps, not n k squared."""
    chosen = [first]
    nearest = np.linalg.norm(vectors - vectors[first], axis=1)
    while len(chosen) < k:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(vectors - vectors[chosen[-1]], axis=1))
    return chosen
