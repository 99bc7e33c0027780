"""Training images that look like photographs of one part, and were not declared as a group.

Each image, small, gray and blurred, is explained by another one as it is, moved a little, brighter or darker: by the
other image, its two derivatives and a constant, in the sense of least squares. The share of its variance that is left
is their distance. Photographs of one part are much closer to each other than to the next part: they form a cluster,
and the step out of it is many times the steps inside. Different parts rarely do: where some are close, as screws that
lie at the same angle, the next ones are not much farther. `benchmarks/duplicates.py` has the limits' calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from .groups import group_note, group_numbers
from .images import Frame, image_batches
from .mvtec import Sample

SIDE = 64  # pixels
MARGIN = 4  # left out, as what moves into the image is nowhere in the other one
STEP = 8.0  # how many times the largest step inside a cluster the step out of it is
SHARE = 0.5  # of the images, and at least LEAST of them, in such clusters: screws have up to a third by chance
LEAST = 4
MOST = 1000  # images that are compared


def distances(images: np.ndarray) -> np.ndarray:
    """Distances (n, n) of gray images (n, height, width): 0 for the same one, about 1 for unlike ones."""
    from scipy.ndimage import gaussian_filter  # slow to import

    blurred = gaussian_filter(images.astype(np.float32), (0, 1, 1))
    down, right = np.gradient(blurred, axis=(1, 2))
    inner = slice(MARGIN, -MARGIN)
    vectors = np.stack([blurred, down, right], axis=-1)[:, inner, inner].reshape(len(images), -1, 3)
    vectors -= vectors.mean(axis=1, keepdims=True)
    basis, _ = np.linalg.qr(vectors)
    own = vectors[..., 0]
    squares = np.maximum(np.square(own).sum(1), 1e-6)
    explained = np.square(np.einsum("ipk,jp->ijk", basis, own, optimize=True)).sum(-1)
    left = 1 - explained / squares
    return np.clip((left + left.T) / 2, 0, None)


def clusters(distances: np.ndarray) -> list[np.ndarray]:
    """The numbers of the images of each cluster, the tightest first; of at most half of all images."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    n = len(distances)
    if n < 3:
        return []
    pairs = distances.copy()
    np.fill_diagonal(pairs, 0)
    merges = linkage(squareform(np.maximum(pairs, 1e-7), checks=False), "single")
    members = [[k] for k in range(n)]
    steps = [0.0] * n
    outward = np.full(2 * n - 1, np.inf)
    for first, second, step, _ in merges:
        outward[[int(first), int(second)]] = step
        members.append(members[int(first)] + members[int(second)])
        steps.append(step)
    chosen: list[int] = []
    taken: set[int] = set()
    for k in range(2 * n - 2, n - 1, -1):  # from the largest to the smallest
        if len(members[k]) <= n / 2 and outward[k] >= STEP * steps[k] and not taken & set(members[k]):
            chosen.append(k)
            taken |= set(members[k])
    return [np.sort(members[k]) for k in sorted(chosen, key=lambda k: steps[k])]


@lru_cache(maxsize=8)
def near_duplicates(samples: tuple[Sample, ...]) -> list[np.ndarray]:
    """Clusters of samples that look like photographs of one part and are not all of one declared group.

    [] where fewer than `SHARE` of the images, or `LEAST`, are in such clusters.
    """
    if not LEAST <= len(samples) <= MOST:
        return []
    batches = image_batches(samples, Frame((SIDE, SIDE)), 64)
    gray = np.concatenate([batch.mean(axis=-1) for batch in batches])
    numbers = group_numbers(samples)
    together = [cluster for cluster in clusters(distances(gray)) if len(set(numbers[cluster])) > 1]
    count = sum(map(len, together))
    return together if count >= max(LEAST, SHARE * len(samples)) else []


def duplicate_note(samples: Sequence[Sample]) -> str:
    """One line that names the first pairs of `near_duplicates` and what to do; "" where there are none."""
    together = near_duplicates(tuple(samples))
    if not together:
        return ""
    pairs = [tuple(samples[k].image.name for k in cluster[:2]) for cluster in together[:3]]
    words = ", ".join(f"{first} and {second}" for first, second in pairs)
    return (
        f"{sum(map(len, together))} of {len(samples)} training images look like {len(together)} parts photographed "
        f"several times ({words}{', ...' if together[3:] else ''}): thresholds and p-values then stop too many good "
        "parts; declare each part's images with --group, or put them into a sub-folder of their own"
    )


def notes_on(samples: Sequence[Sample]) -> list[str]:
    """What is to be known about training images that belong together, a line each."""
    return [note for note in (group_note(samples), duplicate_note(samples)) if note]
