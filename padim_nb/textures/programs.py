"""A program: one kind of generator with its parameters. Its images differ in arrangement, not in kind."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from . import cells, clouds, contours, fractals, leaves, networks, tilings

KINDS: dict[str, tuple[ModuleType, float]] = {
    "leaves": (leaves, 0.25),
    "fractals": (fractals, 0.20),
    "tilings": (tilings, 0.15),
    "contours": (contours, 0.10),
    "cells": (cells, 0.10),
    "clouds": (clouds, 0.10),
    "networks": (networks, 0.10),
}
"""Each kind of generator and its share of the programs."""


@dataclass(frozen=True)
class Program:
    """Program number `index` of a seed; `values` are its drawn parameters, plain numbers and words."""

    seed: int
    index: int
    kind: str
    values: dict

    def render(self, instance: int, side: int) -> np.ndarray:
        """Image number `instance` of this program, uint8 (side, side, 3)."""
        rng = np.random.default_rng([self.seed, self.index, 1 + instance])
        image = KINDS[self.kind][0].draw(self.values, rng, side)
        return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def programs(count: int, seed: int = 0) -> list[Program]:
    """The first `count` programs of a seed; a longer list begins with the shorter one."""
    names, shares = zip(*((name, share) for name, (_, share) in KINDS.items()), strict=True)
    drawn = []
    for index in range(count):
        rng = np.random.default_rng([seed, index, 0])
        kind = str(rng.choice(names, p=shares))
        drawn.append(Program(seed, index, kind, _plain(KINDS[kind][0].parameters(rng))))
    return drawn


def _plain(value: Any) -> Any:
    """Numbers as Python's own, rounded to what a JSON file keeps."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return round(float(value), 5) if isinstance(value, float | np.floating) else value
