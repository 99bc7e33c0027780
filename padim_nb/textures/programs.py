"""A program: one kind of generator with its parameters. Its pictures differ in arrangement, not in kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import cells, clouds, contours, fractals, leaves, networks, tilings

KINDS = {
    "leaves": (leaves, 0.25),
    "fractals": (fractals, 0.20),
    "tilings": (tilings, 0.15),
    "contours": (contours, 0.10),
    "cells": (cells, 0.10),
    "clouds": (clouds, 0.10),
    "networks": (networks, 0.10),
}
"""Each kind of generator and its share of the bank."""


@dataclass(frozen=True)
class Program:
    """Number `index` of the bank grown from `seed`; `values` are the drawn parameters, plain numbers and words."""

    seed: int
    index: int
    kind: str
    values: dict

    def render(self, instance: int, side: int) -> np.ndarray:
        """One of the program's pictures, uint8 (side, side, 3)."""
        rng = np.random.default_rng([self.seed, self.index, 1 + instance])
        picture = KINDS[self.kind][0].draw(self.values, rng, side)
        return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def programs(count: int, seed: int = 0) -> list[Program]:
    """The first `count` programs of the bank of `seed`; a longer bank begins with the shorter one."""
    names, shares = zip(*((name, share) for name, (_, share) in KINDS.items()), strict=True)
    found = []
    for index in range(count):
        rng = np.random.default_rng([seed, index, 0])
        kind = str(rng.choice(names, p=shares))
        found.append(Program(seed, index, kind, _plain(KINDS[kind][0].parameters(rng))))
    return found


def _plain(value: object) -> object:
    """Numbers as Python's own, rounded to what a JSON file keeps."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return round(float(value), 5) if isinstance(value, float | np.floating) else value
