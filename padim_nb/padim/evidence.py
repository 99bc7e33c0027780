"""What a PaDiM detector has learnt from: sums over the pictures, or their very features while these are few."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .gaussian import Moments, PatchGaussians
from .low_rank import LowRankGaussians, is_cheaper


@dataclass
class Evidence:
    """Features (`few`) as long as the thin form of the Gaussians is the cheaper one, `moments` from then on.

    `form` is that of the settings; with "auto" the choice is made here.
    """

    form: str = "auto"
    moments: Moments | None = None
    few: list[Tensor] | None = None

    @property
    def count(self) -> int:
        """How many pictures there were."""
        return self.moments.count if self.moments else len(self.few[0]) if self.few else 0

    def add(self, levels: list[Tensor], expected: int) -> None:
        """Take in a batch's features [(n, c, h, w)], coarse to fine; `expected` pictures there will be in the end."""
        if self.moments is None and self.stays_thin(levels, expected):
            self.few = _one_after_another(self.few, levels) if self.few else levels
        else:
            self._sum_up(levels)

    def join(self, other: Evidence) -> None:
        """Take in what was learnt elsewhere; the other one is not changed."""
        if other.few and self.few and self.stays_thin(other.few, self.count + other.count):
            self.few = _one_after_another(other.few, self.few)
        elif not self.count:
            self.few, self.moments = other.few, copy.deepcopy(other.moments)
        elif other.count:
            self._sum_up()
            self.moments.merge(other.moments or Moments.of(other.few))

    def gaussians(self, eps: float) -> PatchGaussians | LowRankGaussians:
        """One Gaussian a patch."""
        return LowRankGaussians.fit(self.few, eps) if self.few else PatchGaussians.fit(self.moments, eps)

    def stays_thin(self, levels: Sequence[Tensor], n: int) -> bool:
        """Whether n pictures with such features are kept as they are."""
        return self.form == "thin" or (self.form == "auto" and is_cheaper(levels, n))

    def _sum_up(self, levels: Sequence[Tensor] = ()) -> None:
        """Go over from kept features to sums, and add a batch to them."""
        for more in filter(None, (self.few, levels)):
            self.moments = Moments.of(more) if self.moments is None else self.moments.add(more)
        self.few = None


def _one_after_another(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
    return [torch.cat(both) for both in zip(first, second, strict=True)]


def held_out(
    levels: Sequence[Tensor], groups: Sequence[np.ndarray], learnt: Evidence, eps: float, device: str
) -> Iterator[tuple[list[Tensor], PatchGaussians | LowRankGaussians]]:
    """Of each group of pictures its own features, and the Gaussians of all other groups.

    `learnt` is of all the pictures, or of none and then learns here what sums there are.
    """

    def part(*some: np.ndarray) -> list[Tensor]:
        chosen = torch.from_numpy(np.concatenate(some))
        return [level[chosen].to(device) for level in levels]

    few = learnt.stays_thin(part(groups[0]), len(levels[0]))  # on the device: the choice depends on it
    if not (few or learnt.count):
        for group in groups:
            learnt.add(part(group), len(levels[0]))
    for own, group in enumerate(groups):
        theirs, others = part(group), [*groups[:own], *groups[own + 1 :]]
        rest = Evidence(few=part(*others)) if few else Evidence(moments=learnt.moments.without(theirs))
        yield theirs, rest.gaussians(eps)
