"""A sequential test: whether events are more frequent than is tolerated, at any time.

Let x₁, x₂, … be numbers from 0 to 1, and the null hypothesis that the mean of each, given those
before it, is at most p. For 0 ≤ λ ≤ 1/p, the wealth ∏ (1 + λ (xᵢ − p)) of a gambler who always bets
λ that x exceeds p is then a nonnegative supermartingale that starts at 1, as is the mean of several
gamblers' wealth. By Ville's inequality, it reaches 1/α at any time with probability at most α.

Source: I. Waudby-Smith and A. Ramdas, Estimating means of bounded random variables by betting,
Journal of the Royal Statistical Society B 86 (2024).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

GAMBLERS = 6
LOWEST, HIGHEST = 1.3, 0.8  # the gamblers bet best for means from LOWEST p to HIGHEST
MOST_TOLERATED = 0.3
LARGEST = 700  # natural logarithm of the largest wealth that a float can hold


@dataclass(frozen=True)
class SequentialTest:
    """The test of a tolerated mean at a level.

    The logarithms of the gamblers' wealth add up: of observations that several processes have
    made, each process may keep its own sum.
    """

    tolerated: float  # p, above 0 and at most MOST_TOLERATED
    level: float  # α

    def __post_init__(self) -> None:
        if not 0 < self.tolerated <= MOST_TOLERATED:
            raise ValueError(f"{self.tolerated:g} is not above 0 and at most {MOST_TOLERATED}")

    @cached_property
    def bets(self) -> NDArray[np.float64]:
        """λ of each gambler [GAMBLERS]: the best bets if a share of all xᵢ is 1, the others 0.

        Of each share, from a little above p to HIGHEST.
        """
        shares = np.geomspace(LOWEST * self.tolerated, HIGHEST, GAMBLERS)
        bets: NDArray[np.float64] = (shares - self.tolerated) / (
            self.tolerated * (1 - self.tolerated)
        )
        return bets

    def log_growth(self, observed: ArrayLike) -> NDArray[np.float64]:
        """By how much observations [...] add to the gamblers' log wealth, [..., GAMBLERS]."""
        excess = np.asarray(observed, float)[..., None] - self.tolerated
        growth: NDArray[np.float64] = np.log1p(self.bets * excess)
        return growth

    def evidence(self, log_wealth: Sequence[float]) -> float:
        """The gamblers' mean wealth, from its logarithms [GAMBLERS]: the evidence against p."""
        return sum(math.exp(min(x, LARGEST)) for x in log_wealth) / len(log_wealth)

    def rejects(self, log_wealth: Sequence[float]) -> bool:
        """Whether the mean is higher than tolerated."""
        return self.evidence(log_wealth) >= 1 / self.level
