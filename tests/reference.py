"""PaDiM's four lines of maths and the saturated overlap, slow and obvious: what the fast forms are held against."""

import numpy as np
from scipy.ndimage import gaussian_filter


def distances(train: np.ndarray, test: np.ndarray, eps: float = 0.01) -> np.ndarray:
    """(n, d, positions), (m, d, positions) -> Mahalanobis distances (m, positions)."""
    train, test = train.astype(np.float64), test.astype(np.float64)
    out = np.empty((len(test), train.shape[2]))
    for p in range(train.shape[2]):
        covariance = np.cov(train[:, :, p], rowvar=False).reshape(train.shape[1], -1) + eps * np.eye(train.shape[1])
        inverse = np.linalg.inv(covariance)
        delta = test[:, :, p] - train[:, :, p].mean(0)
        out[:, p] = np.sqrt(np.einsum("ij,jk,ik->i", delta, inverse, delta))
    return out


def up(level: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest up-sampling of (n, c, h, w), as torch.nn.functional.interpolate does it."""
    rows = np.arange(size[0]) * level.shape[2] // size[0]
    columns = np.arange(size[1]) * level.shape[3] // size[1]
    return level[:, :, rows][:, :, :, columns]


def bilinear(map_: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear up-sampling of (h, w) with half-pixel centres."""
    taps = []
    for small, large in zip(map_.shape, size, strict=True):
        at = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
        low = np.minimum(np.floor(at).astype(int), max(small - 2, 0))
        taps.append((low, np.minimum(low + 1, small - 1), at - low))
    (a, b, t), (c, d, s) = taps
    rows = map_[a] * (1 - t)[:, None] + map_[b] * t[:, None]
    return rows[:, c] * (1 - s) + rows[:, d] * s


def smooth(map_: np.ndarray, size: tuple[int, int], sigma: float = 4.0, border: str = "reflect") -> np.ndarray:
    """Up-sampled, then blurred by scipy."""
    return gaussian_filter(bilinear(map_, size), sigma, mode=border)


def saturated_overlap(normal: np.ndarray, regions: list[tuple[np.ndarray, float]], limit: float) -> float:
    """Mean of min(detected / saturation area, 1) over (scores, area) of regions: a threshold for every score."""
    x, y = [0.0], [0.0]
    for threshold in np.unique(np.concatenate([normal, *(scores for scores, _ in regions)]))[::-1]:
        x.append(float((normal >= threshold).mean()))
        y.append(float(np.mean([min((scores >= threshold).sum() / area, 1.0) for scores, area in regions])))
    x, y = np.array(x), np.array(y)
    inside = x < limit
    return np.trapezoid(np.r_[y[inside], np.interp(limit, x, y)], np.r_[x[inside], limit]) / limit
