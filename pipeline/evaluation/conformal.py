"""Split conformal prediction: thresholds that keep a stated fraction of new images.

The images that the thresholds are computed on and the images to come must be exchangeable, and no
network may have been trained on either. See Angelopoulos and Bates 2023, "Conformal Prediction: A
Gentle Introduction", section 1.
"""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom


def threshold(scores: NDArray[np.floating], coverage: float) -> float:
    """The score that a new image exceeds with a probability of at most 1 - `coverage`.

    `scores` [n]: those of the calibration images. It is the ceil((n + 1) coverage)-th smallest of
    them: the new score is equally likely to take each of n + 1 ranks. Infinity if n is too small.
    """
    rank = _rank(len(scores), coverage)
    return math.inf if rank > len(scores) else float(np.sort(scores)[rank - 1])


def least_probability(probabilities: NDArray[np.floating], coverage: float) -> float:
    """The least probability of a label in a prediction set that has the true one this often.

    `probabilities` [n]: those of the true labels of the calibration images; the score of an image
    is 1 minus it. 0 if there are too few images: the set then has every label.
    """
    return max(0.0, -threshold(-probabilities, coverage))


def coverage_interval(
    calibration_images: int, coverage: float, images: int, confidence: float = 0.95
) -> tuple[float, float]:
    """The interval in which the coverage of `images` new images lies with this probability.

    Both the threshold and the new images are random: the number of covered images has a
    beta-binomial distribution.
    """
    rank = _rank(calibration_images, coverage)
    number = betabinom(images, rank, calibration_images + 1 - rank)
    tail = (1 - confidence) / 2
    return float(number.ppf(tail)) / images, float(number.ppf(1 - tail)) / images


def _rank(images: int, coverage: float) -> int:
    # exact: 1000 x 0.999 is not to become 999.0000000000001
    return math.ceil((images + 1) * Fraction(str(coverage)))
