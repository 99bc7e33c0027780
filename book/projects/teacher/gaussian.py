"""Solution of the project `gaussian`: one Gaussian, and the distance of vectors to it."""

import numpy as np


def fit(x):
    """Mean and covariance of vectors (n, d), with 0.01 on the diagonal."""
    return x.mean(0), np.cov(x.T) + 0.01 * np.eye(x.shape[1])


def distances(x, mean, covariance):
    """Mahalanobis distances (n,), by the Cholesky factor instead of the inverse."""
    z = np.linalg.solve(np.linalg.cholesky(covariance), (x - mean).T)
    return np.sqrt((z**2).sum(0))
