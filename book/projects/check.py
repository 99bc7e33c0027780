"""Checks a project of the page *Teach with this book*: plain asserts, each with a message that says what is wrong.

python book/projects/check.py PROJECT FILE.py      checks the functions of a student's file
python book/projects/check.py                      lists the projects and the functions they ask for

Needs NumPy only. A check is no grade: it says that the functions do what their names promise on small inputs.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

Array = np.ndarray


def gaussian(work: ModuleType) -> None:
    """fit(vectors) -> (mean, covariance); distances(vectors, mean, covariance) -> (n,)"""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 4)) @ np.triu(np.ones((4, 4))) + 3
    before = vectors.copy()
    mean, covariance = work.fit(vectors)
    assert np.array_equal(vectors, before), "fit changes the vectors it is given: work on a copy"
    assert np.shape(mean) == (4,), f"the mean has the shape {np.shape(mean)}, not (4,): average over images (axis 0)"
    assert np.allclose(mean, vectors.mean(0)), "the mean is not that of the vectors"
    assert np.shape(covariance) == (4, 4), f"the covariance has the shape {np.shape(covariance)}, not (4, 4)"
    plain = np.cov(vectors.T)
    assert not np.allclose(covariance, plain * 49 / 50), "the covariance is divided by n: divide by n - 1"
    assert np.allclose(covariance, plain + 0.01 * np.eye(4)), "the covariance is not scatter / (n - 1) + 0.01 I"
    d = np.asarray(work.distances(vectors, mean, covariance))
    assert d.shape == (50,), f"distances has the shape {d.shape}, not (50,): one number a vector"
    expected = np.array([np.sqrt((v - mean) @ np.linalg.inv(covariance) @ (v - mean)) for v in vectors])
    assert not np.allclose(d, expected**2), "these are squared distances: take the root"
    assert not np.allclose(d, np.linalg.norm(vectors - mean, axis=1)), "these are plain distances: use the covariance"
    assert np.allclose(d, expected), "the distances are not the root of delta' inverse(covariance) delta"
    one = np.asarray(work.distances(mean[None], mean, covariance))
    assert np.allclose(one, 0), "the mean itself must have the distance 0"


def auroc(work: ModuleType) -> None:
    """auroc(scores, labels) -> float: the chance that a defective image scores higher than a good one"""
    labels = np.array([0, 0, 0, 1, 1])
    assert np.isclose(work.auroc(np.array([1.0, 2, 3, 4, 5]), labels), 1), "all defects score higher: it must be 1"
    assert np.isclose(work.auroc(np.array([5.0, 4, 3, 2, 1]), labels), 0), "all defects score lower: it must be 0"
    tied = work.auroc(np.ones(5), labels)
    assert np.isclose(tied, 0.5), f"all scores are equal: it must be 0.5, not {tied}; a tie counts one half"
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = np.r_[0, 1, rng.integers(2, size=38)]
        scores = rng.integers(6, size=40).astype(float)  # many ties
        good, bad = scores[labels == 0], scores[labels == 1]
        expected = np.mean([(b > g) + 0.5 * (b == g) for b in bad for g in good])
        value = work.auroc(scores, labels)
        assert np.isclose(value, expected), f"on scores with ties it is {expected:.4f}, not {value:.4f}"
        assert np.isclose(work.auroc(np.exp(scores), labels), value), "exp changes no rank, so it must not change this"


def threshold(work: ModuleType) -> None:
    """threshold(scores, alpha) -> float: the conformal quantile of good images' held-out scores"""
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 101))  # 1 to 100 in any order
    for alpha, expected in ((0.1, 91.0), (0.05, 96.0), (0.01, 100.0), (0.2, 81.0)):
        value = work.threshold(scores.copy(), alpha)
        assert value != np.quantile(scores, 1 - alpha), "this is the plain quantile: it forgets the new part, n + 1"
        assert value == expected, f"100 scores, alpha {alpha}: the k-th smallest is {expected:g}, not {value:g}"
    largest = work.threshold(np.array([3.0, 1, 2]), 0.01)
    assert largest == 3, f"three scores are too few for 1 %: give the largest, 3, not {largest}"


def nearest(work: ModuleType) -> None:
    """score(memory, patches) -> (n,): each patch's distance to the nearest vector in memory"""
    rng = np.random.default_rng(0)
    memory, patches = rng.normal(size=(30, 5)), rng.normal(size=(12, 5))
    d = np.asarray(work.score(memory, patches))
    assert d.shape == (12,), f"the scores have the shape {d.shape}, not (12,): one a patch"
    table = np.array([[np.linalg.norm(p - m) for m in memory] for p in patches])
    assert not np.allclose(d, table.mean(1)), "this is the mean distance: take the smallest"
    assert not np.allclose(d, table.min(1) ** 2), "these are squared distances: take the root"
    assert np.allclose(d, table.min(1)), "the scores are not the distances to the nearest vector"
    own = np.asarray(work.score(memory, memory))
    assert np.allclose(own, 0, atol=1e-5), "a vector of the memory must score 0"
    assert not np.isnan(own).any(), "a score is NaN: the root of a tiny negative number; clip at 0 first"


def coreset(work: ModuleType) -> None:
    """coreset(vectors, k, first) -> k indices, each time the vector that is farthest from those chosen"""
    vectors = np.random.default_rng(0).normal(size=(40, 3))
    chosen = [int(i) for i in work.coreset(vectors, 10, 7)]
    assert len(chosen) == 10, f"{len(chosen)} indices instead of 10"
    assert chosen[0] == 7, f"the first index is {chosen[0]}, not the one given, 7"
    for step in range(1, 10):
        to_chosen = np.linalg.norm(vectors[:, None] - vectors[chosen[:step]], axis=2).min(1)
        assert np.isclose(to_chosen[chosen[step]], to_chosen.max()), (
            f"index {step} ({chosen[step]}) is not the farthest from those before it: "
            "update the distance to the *nearest* chosen vector after each choice"
        )


PROJECTS: dict[str, Callable[[ModuleType], None]] = {
    check.__name__: check for check in (gaussian, auroc, threshold, nearest, coreset)
}


def main(arguments: list[str]) -> int:
    """Check a file; 0 when all holds, 1 with one line on what does not, 2 for a wrong call."""
    if len(arguments) != 2 or arguments[0] not in PROJECTS:
        print(__doc__)
        for name, check in PROJECTS.items():
            print(f"{name:10} {check.__doc__}")
        return 2
    name, path = arguments[0], Path(arguments[1])
    if not path.is_file():
        print(f"{path} does not exist: give the file with your functions")
        return 2
    spec = importlib.util.spec_from_file_location("work", path)
    assert spec and spec.loader
    work = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(work)
        PROJECTS[name](work)
    except AssertionError as error:
        print(f"{name}: {error}")
        return 1
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}. Asked for: {PROJECTS[name].__doc__}")
        return 1
    print(f"{name}: all checks hold")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
