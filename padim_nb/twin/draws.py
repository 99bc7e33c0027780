"""Random draws that many categories need, so that each of them means the same everywhere."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def new_seed(rng: np.random.Generator) -> int:
    """A seed for something that draws its own random numbers later."""
    return int(rng.integers(1 << 31))


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between two, evenly on a logarithmic scale: small ones are as frequent as large ones."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def how_strong(rng: np.random.Generator, faintest: float, skew: float) -> float:
    """How strong one image's defect is, `faintest` to 1; with a `skew` above 1 weak ones are more frequent."""
    return float(faintest + (1 - faintest) * rng.uniform(0, 1) ** skew)


def beta_strong(rng: np.random.Generator, faintest: float, a: float, b: float) -> float:
    """How strong one image's defect is, `faintest` to 1, by a beta distribution: weak ones are rarer where a > b."""
    return float(faintest + (1 - faintest) * rng.beta(a, b))


def about_one(rng: np.random.Generator, spread: float) -> float:
    """A factor about 1, as often half as double; `spread` is the standard deviation of its logarithm."""
    return float(np.exp(rng.normal(0, spread)))


def place(rng: np.random.Generator, reach: float) -> tuple[float, float]:
    """A point, uniform in the square of half side `reach` about the middle."""
    return pair(rng.uniform(-reach, reach, 2))


def pair(values: Iterable[float]) -> tuple[float, float]:
    """Two drawn numbers, such as a point, as a scene keeps them."""
    a, b = (float(value) for value in values)
    return a, b


def triple(values: Iterable[float]) -> tuple[float, float, float]:
    """Three drawn numbers, such as a color or a color of light, as a scene keeps them."""
    a, b, c = (float(value) for value in values)
    return a, b, c
