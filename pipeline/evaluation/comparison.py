"""Comparison of two classifiers on the same images."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr


def mcnemar(old_correct: NDArray[np.bool_], new_correct: NDArray[np.bool_]) -> dict[str, float]:
    """Run the exact two-sided McNemar test, a binomial test with probability 1/2.

    Returns the number of images that only the old classifier gets right, the number that only the
    new one gets right, and the p-value.
    """
    only_old = int((old_correct & ~new_correct).sum())
    only_new = int((new_correct & ~old_correct).sum())
    one_sided = float(bdtr(min(only_old, only_new), only_old + only_new, 0.5))
    return {
        "only_old_right": only_old,
        "only_new_right": only_new,
        "p_value": min(1.0, 2 * one_sided),
    }
