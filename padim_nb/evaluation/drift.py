"""An alarm when the scores of new parts stop being like those of good ones, with a stated mean run length.

Each score is ranked among all before it, the held-out scores of the training images first. As long as nothing changes,
all orders of these scores are equally likely, so the rank, as a share p, is uniform and independent of earlier ones
(a conformal p-value). A game is fair then that multiplies what is staked by e p**(e - 1), whose mean over p is 1, for
any e from 0 to 1: it gains where ranks are high. One unit is staked at every part and stays in the game. After t parts
the players together hold t units on average, so waiting until they hold `run_length` takes at least `run_length` good
parts on average (the Shiryaev-Roberts procedure on conformal p-values).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

import numpy as np

from ..errors import ModelError, OptionError

EXPONENTS = (0.3, 0.6)  # the smaller, the more a game stakes on extreme ranks


class DriftAlarm:
    """Scores of new parts, one after the other; `add` says when they have changed.

    It notices scores that rise and scores that fall. After an alarm, and a look at camera, light and parts, begin with
    a new one.

    Args:
        held_out: scores of good images by models that have not seen them: `detector.held_out_scores(samples)`.
        run_length: good parts until a false alarm, on average, or more, whatever the distribution of the scores.
        seed: equal scores are ranked at random.

    Attributes:
        total: what all players hold; the alarm is at `run_length`.
    """

    def __init__(self, held_out: Sequence[float] | np.ndarray, run_length: float = 10_000, seed: int = 0) -> None:
        self._sorted = sorted(map(float, held_out))
        if not np.isfinite(self._sorted).all() or not self._sorted:
            raise ModelError("drift is measured against the scores of good images: there are none, or some are NaN")
        if not 1 <= run_length < float("inf"):
            raise OptionError(f"run_length is a number of parts, 1 or more, not {run_length}")
        self.run_length = run_length
        self._random = np.random.default_rng(seed)
        self._held = [0.0] * (2 * len(EXPONENTS))  # in each game: on high and on low ranks

    @property
    def total(self) -> float:
        """What all players hold, the mean of the games: the number of parts so far, on average, if nothing changed."""
        return sum(self._held) / len(self._held)

    def add(self, score: float) -> bool:
        """Whether the scores have changed, by this one and all before it."""
        if not math.isfinite(score):
            raise ModelError(f"a score that is {score} cannot be ranked")
        below, upto = bisect_left(self._sorted, score), bisect_right(self._sorted, score)
        above, equal = len(self._sorted) - upto, upto - below
        p = (above + (1 - self._random.random()) * (equal + 1)) / (len(self._sorted) + 1)  # in (0, 1]
        insort(self._sorted, float(score))
        games = [(e, share) for e in EXPONENTS for share in (p, max(1 - p, 1e-12))]
        self._held = [(held + 1) * e * share ** (e - 1) for held, (e, share) in zip(self._held, games, strict=True)]
        return self.total >= self.run_length
