"""Thresholds from calibration images keep what they state for new images."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.evaluation.conformal import coverage_interval, least_probability, threshold

CALIBRATION, NEW, TRIALS = 20, 400, 4000


def covered(coverage: float) -> NDArray[np.float64]:
    """The share of new scores up to the threshold, in many trials with exchangeable scores."""
    scores = np.random.default_rng(1).lognormal(size=(TRIALS, CALIBRATION + NEW))
    thresholds = [threshold(row[:CALIBRATION], coverage) for row in scores]
    shares: NDArray[np.float64] = (scores[:, CALIBRATION:] <= np.array(thresholds)[:, None]).mean(1)
    return shares


@pytest.mark.parametrize(("coverage", "expected"), [(0.9, 19 / 21), (0.5, 11 / 21)])
def test_new_images_are_covered_at_least_as_often_as_stated(
    coverage: float, expected: float
) -> None:
    """Without the correction for few images, it would be 18 / 21 and 10 / 21: too seldom."""
    mean = covered(coverage).mean()
    assert mean >= coverage
    assert mean == pytest.approx(expected, abs=0.005)


def test_the_interval_holds_the_coverage_of_new_images() -> None:
    shares = covered(0.9)
    low, high = coverage_interval(CALIBRATION, 0.9, NEW)
    assert 0.94 < ((shares >= low) & (shares <= high)).mean() < 0.97


def test_the_prediction_set_has_the_true_label_as_often_as_stated() -> None:
    """At the least probability itself, a label is in the set."""
    random = np.random.default_rng(2)
    shares = []
    for _ in range(TRIALS):
        of_truth = random.beta(8, 1, CALIBRATION + NEW).astype(np.float32)
        least = least_probability(of_truth[:CALIBRATION], 0.9)
        assert least in of_truth[:CALIBRATION]
        shares.append((of_truth[CALIBRATION:] >= np.float32(least)).mean())
    assert np.mean(shares) == pytest.approx(19 / 21, abs=0.005)


def test_too_few_images_promise_nothing() -> None:
    scores = np.arange(98, dtype=np.float32)
    assert threshold(scores, 0.99) == np.inf
    assert least_probability(scores / 98, 0.99) == 0
    assert threshold(np.arange(99, dtype=np.float32), 0.99) == 98
