"""Comparison of two classifiers on the same images."""

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm


class Paired(NamedTuple):
    """How many of N images two classifiers get right."""

    both: int
    only_old: int
    only_new: int
    neither: int

    @classmethod
    def of(cls, old: NDArray[np.bool_], new: NDArray[np.bool_]) -> "Paired":
        """Count, from whether each classifier is right on each image, bool [N]."""
        only_old, only_new = int((old & ~new).sum()), int((new & ~old).sum())
        both = int((old & new).sum())
        return cls(both, only_old, only_new, len(old) - both - only_old - only_new)

    @property
    def images(self) -> int:
        """N."""
        return sum(self)

    @property
    def difference(self) -> float:
        """Error rate of the new classifier minus that of the old one."""
        return (self.only_old - self.only_new) / self.images


def upper_bound(paired: Paired, level: float) -> float:
    """The upper confidence bound of the difference of error rates, new minus old.

    One-sided: the true difference exceeds it with a probability of about `level`. Newcombe's
    method 10, from Wilson's intervals of both rates and their correlation (Statistics in Medicine
    17, 1998, pages 2635 to 2650).
    """
    z, n = float(norm.isf(level)), paired.images
    new, old = paired.only_old + paired.neither, paired.only_new + paired.neither  # errors
    above = _wilson(new, n, z)[1] - new / n
    below = old / n - _wilson(old, n, z)[0]
    square = above**2 - 2 * _correlation(paired) * above * below + below**2
    return paired.difference + sqrt(max(square, 0.0))


def _wilson(count: int, n: int, z: float) -> tuple[float, float]:
    """Wilson's score interval of the rate `count` / `n`."""
    centre = count + z * z / 2
    width = z * sqrt(count * (n - count) / n + z * z / 4)
    return (centre - width) / (n + z * z), (centre + width) / (n + z * z)


def _correlation(paired: Paired) -> float:
    """The correlation of the errors, with Newcombe's correction for continuity."""
    both, only_old, only_new, neither = paired
    rows = (both + only_old) * (only_new + neither)
    columns = (both + only_new) * (only_old + neither)
    if rows * columns == 0:
        return 0.0
    product = float(both * neither - only_old * only_new)
    if product > 0:
        product = max(product - paired.images / 2, 0.0)
    return product / sqrt(rows * columns)
