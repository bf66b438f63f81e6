"""The tests for drift agree with SciPy, and their p-values with what happens by chance."""

import numpy as np
import pytest
from scipy import stats

from pipeline.monitoring import statistics
from pipeline.monitoring.image_statistics import STATISTICS, image_statistics
from tests.digits import make_digits


def named(image: np.ndarray) -> dict[str, float]:
    return dict(zip(STATISTICS, image_statistics(image[None])[0].tolist(), strict=True))


@pytest.mark.parametrize("decimals", [8, 1], ids=["distinct", "ties"])
def test_distances_are_those_of_scipy(decimals: int) -> None:
    random = np.random.default_rng(1)
    reference = random.normal(size=(300, 2)).round(decimals)
    values = random.normal(0.2, 1.3, size=(80, 2)).round(decimals)
    windows = np.stack([random.permutation(80)[:50] for _ in range(3)])
    found = statistics.ks_distances(*statistics.cumulative(reference, values), windows)
    for window, distances in zip(windows, found, strict=True):
        for column in range(2):
            expected = stats.ks_2samp(reference[:, column], values[window, column])
            assert distances[column] == pytest.approx(expected.statistic, abs=1e-6)


def test_p_values_of_distances_are_those_of_large_samples() -> None:
    random = np.random.default_rng(1)
    one, other = random.normal(size=3000), random.normal(0.08, 1, size=2000)
    expected = stats.ks_2samp(one, other)
    found = statistics.ks_p_values(np.array(expected.statistic), len(other), len(one))
    assert found == pytest.approx(expected.pvalue, rel=0.1)


def test_holm_corrects_the_smallest_p_value() -> None:
    assert statistics.holm(np.array([[0.5, 0.01, 0.2], [0.9, 0.8, 0.7]])).tolist() == [0.03, 1]


def test_class_mix_is_tested_as_scipy_does() -> None:
    counts, reference = np.array([[10, 20, 30, 0]]), np.array([300, 200, 100, 0])
    expected = stats.chi2_contingency([counts[0, :3], reference[:3]], correction=False)
    found = statistics.chi_square_p_values(counts, reference)
    assert found[0] == pytest.approx(expected.pvalue)


def test_an_excess_is_tested_as_scipy_does() -> None:
    expected = stats.fisher_exact([[7, 93], [15, 2985]], alternative="greater")
    found = statistics.excess_p_values(np.array([7, 0, 7]), 100, 15, 3000)
    assert found[0] == found[2] == pytest.approx(expected.pvalue)
    assert found[1] == 1


def test_the_mean_discrepancy_is_the_distance_of_the_mean_kernels() -> None:
    random = np.random.default_rng(1)
    reference, values = random.normal(size=(60, 3)), random.normal(1, 1, size=(40, 3))
    bandwidth = statistics.median_distance(reference)
    window = random.permutation(40)[:25]

    def mean_kernel(first: np.ndarray, second: np.ndarray) -> float:
        squares = ((first[:, None] - second) ** 2).sum(-1)
        return float(np.exp(-squares / (2 * bandwidth**2)).mean())

    taken = values[window]
    expected = (
        mean_kernel(taken, taken)
        - 2 * mean_kernel(taken, reference)
        + mean_kernel(reference, reference)
    )
    found = statistics.mmd_squares(
        statistics.kernel(values, values, bandwidth),
        statistics.kernel(values, reference, bandwidth).mean(1),
        mean_kernel(reference, reference),
        window[None],
    )
    assert found[0] == pytest.approx(expected, rel=1e-5)


def test_the_bandwidth_is_the_median_distance() -> None:
    assert statistics.median_distance(np.array([[0.0], [1.0], [4.0]])) == pytest.approx(3)


def test_a_stroke_has_its_width_and_place() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 12:15] = 255  # 20 pixels long, 3 wide
    found = named(image)
    assert found["ink"] == pytest.approx(60 / 784)
    assert found["stroke_width"] == pytest.approx(3, rel=0.15)
    assert found["extent"] == pytest.approx(np.sqrt((20**2 - 1 + 3**2 - 1) / 12))
    assert found["centre"] == pytest.approx(0.5)  # half a pixel left of the middle
    assert (found["border"], found["contrast"]) == (0, 1)


def test_statistics_change_with_what_they_are_named_for() -> None:
    image = make_digits(1, seed=1)[0][0]
    before = named(image)
    moved = named(np.roll(image, 3, axis=1))
    assert abs(moved["centre"] - 3) <= before["centre"] + 0.01
    assert moved["extent"] == pytest.approx(before["extent"], rel=1e-5)
    assert named(image // 2)["contrast"] == pytest.approx(before["contrast"] / 2, rel=0.05)
    noise = np.random.default_rng(1).integers(0, 100, image.shape).astype(np.uint8)
    assert named(np.maximum(image, noise))["border"] > before["border"] + 0.1


@pytest.mark.parametrize("brightness", [0, 255])
def test_an_image_of_one_colour_has_statistics(brightness: int) -> None:
    found = named(np.full((28, 28), brightness, np.uint8))
    assert np.isfinite(list(found.values())).all()
    assert found["centre"] == pytest.approx(0, abs=1e-5)
