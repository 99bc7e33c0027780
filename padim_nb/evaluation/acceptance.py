"""What counts of wrongly judged parts, and a threshold from held-out scores, prove about parts that are still to come.

All of it is exact for parts that are drawn independently. Several photographs of one part are one part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.stats import beta, binom, binomtest

from .thresholds import Threshold

LEVEL = 0.95


@dataclass(frozen=True)
class Count:
    """`wrong` of `parts` parts were judged wrongly: defective ones that pass, or good ones that are stopped."""

    wrong: int
    parts: int

    @property
    def share(self) -> float | None:
        """The measured share; None where there are no parts."""
        return self.wrong / self.parts if self.parts else None

    @property
    def interval(self) -> tuple[float, float]:
        """The two-sided 95 % interval of Clopper and Pearson for the share among all parts; (0, 1) without parts."""
        if not self.parts:
            return 0.0, 1.0
        ends = binomtest(self.wrong, self.parts).proportion_ci(LEVEL, method="exact")
        return float(ends.low), float(ends.high)

    @property
    def at_most(self) -> float:
        """What the share is at most, with 95 % certainty (one-sided); 1 - 0.05 ** (1 / parts) where none is wrong."""
        if not self.parts:
            return 1.0
        return float(binomtest(self.wrong, self.parts, alternative="less").proportion_ci(LEVEL, method="exact").high)

    def shows(self, limit: float) -> bool:
        """Whether the share is at most `limit`, with 95 % certainty."""
        return self.at_most <= limit

    def parts_missing(self, limit: float) -> int:
        """How many more parts, all judged rightly, it takes until the counts show `limit`; 0 where they do."""
        return max(0, parts_needed(limit, self.wrong) - self.parts)


def parts_needed(limit: float, wrong: int = 0) -> int:
    """The smallest number of parts of which `wrong` may be judged wrongly and the share is shown to be at most `limit`.

    Without a wrong one it is ln 0.05 / ln(1 - limit), rounded up: 29, 59 and 299 parts for 10, 5 and 1 %.
    """
    low, high = wrong, max(1, 2 * wrong)  # of `low` parts nothing is shown yet
    while binom.cdf(wrong, high, limit) > 1 - LEVEL:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if binom.cdf(wrong, middle, limit) > 1 - LEVEL else (low, middle)
    return high


@dataclass(frozen=True)
class Guarantee:
    """What share of new good parts a threshold stops if it is the `rank`-th largest of the scores of `images` images.

    It holds if these scores and those of new good parts could be exchanged: the images had no part in the model that
    judges them, and new parts and their photographs are like them.
    """

    images: int
    rank: int

    @classmethod
    def of(cls, threshold: Threshold) -> Guarantee:
        """The guarantee of a threshold that `conformal` set."""
        smaller = math.ceil((threshold.count + 1) * (1 - threshold.false_alarm))  # the rank from below
        return cls(threshold.count, max(1, threshold.images + 1 - smaller))

    @property
    def average(self) -> float:
        """The share that is stopped on average over all draws of the images."""
        return self.rank / (self.images + 1)

    @property
    def at_most(self) -> float:
        """What 95 % of all draws of the images do not exceed: the share that is stopped follows a Beta distribution."""
        return float(beta.ppf(LEVEL, self.rank, self.images + 1 - self.rank))
