"""Comparison of two classifiers on the same images."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest


def mcnemar(old_correct: NDArray[np.bool_], new_correct: NDArray[np.bool_]) -> dict[str, float]:
    """Run the exact two-sided McNemar test.

    Returns the number of images that only the old classifier gets right, the number that only the
    new one gets right, and the p-value.
    """
    only_old = int((old_correct & ~new_correct).sum())
    only_new = int((new_correct & ~old_correct).sum())
    discordant = only_old + only_new
    p_value = float(binomtest(only_old, discordant).pvalue) if discordant else 1.0
    return {"only_old_right": only_old, "only_new_right": only_new, "p_value": p_value}
