"""Every metric agrees with an independent calculation."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import beta

from pipeline.evaluation import figures, metrics


def probabilities(*rows: dict[int, float]) -> NDArray[np.float64]:
    """A row per image with these probabilities of digits; the others are 0."""
    table = np.zeros((len(rows), 10))
    for index, row in enumerate(rows):
        table[index, list(row)] = list(row.values())
    return table


def digits(*labels: int) -> NDArray[np.uint8]:
    return np.array(labels, np.uint8)


@pytest.mark.parametrize("total", [1, 7, 100, 10_000])
@pytest.mark.parametrize("share", [0, 0.004, 0.5, 0.9961, 1])
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_the_interval_is_clopper_pearson(total: int, share: float, confidence: float) -> None:
    correct = round(share * total)
    tail = (1 - confidence) / 2
    low = beta.ppf(tail, correct, total - correct + 1) if correct else 0
    high = beta.ppf(1 - tail, correct + 1, total - correct) if correct < total else 1
    interval = metrics.accuracy_interval(correct, total, confidence)
    assert interval == pytest.approx((low, high), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("rows", "labels", "bins", "expected"),
    [
        ([{3: 1.0}] * 4, [3, 3, 3, 3], 15, 0),  # confident and correct
        ([{3: 1.0}] * 4, [5, 5, 5, 5], 15, 1),  # confident and wrong
        ([{3: 0.75, 4: 0.25}] * 4, [3, 3, 3, 4], 15, 0),  # confidence 75 %, 3 of 4 correct
        ([{3: 0.75, 4: 0.25}] * 4, [3, 3, 4, 4], 15, 0.25),
        # wrong at 0.6 and correct at 0.9, in two bins: (0.6 + 0.1) / 2; in one bin: (1.5 - 1) / 2
        ([{0: 0.6, 1: 0.4}, {2: 0.9, 1: 0.1}], [1, 2], 10, 0.35),
        ([{0: 0.6, 1: 0.4}, {2: 0.9, 1: 0.1}], [1, 2], 1, 0.25),
        # bins are weighted by size: 3 images 0.1 off, 1 image 0.6 off
        ([{1: 0.9, 0: 0.1}] * 3 + [{0: 0.6, 1: 0.4}], [1, 1, 1, 1], 10, (3 * 0.1 + 0.6) / 4),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_calibration_error_matches_manual_results(
    rows: list[dict[int, float]],
    labels: list[int],
    bins: int,
    expected: float,
    dtype: type[np.floating[Any]],
) -> None:
    found = metrics.expected_calibration_error(
        probabilities(*rows).astype(dtype), digits(*labels), bins
    )
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_reported_calibration_error_uses_15_bins() -> None:
    """0.65 and 0.69 share a bin of ten, but not of fifteen: one boundary is 2/3."""
    table = probabilities({0: 0.65, 1: 0.35}, {2: 0.69, 1: 0.31})
    apart, together = (0.65 + 0.31) / 2, (0.65 + 0.69 - 1) / 2
    labels = digits(1, 2)
    assert metrics.summarise(table, labels).expected_calibration_error == pytest.approx(apart)
    assert metrics.expected_calibration_error(table, labels) == pytest.approx(apart)
    assert metrics.expected_calibration_error(table, labels, 10) == pytest.approx(together)


def test_a_confidence_of_1_belongs_to_the_last_bin() -> None:
    """Wrong at 1.0 and correct at 0.95: (1 + 0.95 - 1) / 2 in one bin, 1.05 / 2 in two."""
    table = probabilities({0: 1.0}, {2: 0.95, 1: 0.05})
    found = metrics.expected_calibration_error(table, digits(1, 2), 10)
    assert found == pytest.approx(0.95 / 2)


@pytest.mark.parametrize("accuracies", [[0.9869], [0.2, 1.0], [0.99, 0.995]])
def test_accuracy_axes_end_at_100_percent(accuracies: list[float]) -> None:
    names = ("training_loss", "test_loss", "training_accuracy", "test_accuracy")
    rows = [dict.fromkeys(names, a) | {"epoch": n} for n, a in enumerate(accuracies, start=1)]
    figure = figures.learning_curves(rows)
    panels = [axes for axes in figure.axes if "accuracy" in axes.get_title("left")]
    assert len(panels) == 2
    for axes in panels:
        low, high = axes.get_ylim()
        assert low < min(accuracies) <= max(accuracies) <= high <= 1


def test_a_summary_with_absent_classes_matches_manual_results() -> None:
    """Four images of 0, 0, 1 and 7; the second 0 is misclassified as 2, an absent class."""
    table = probabilities({0: 0.8, 1: 0.2}, {2: 0.5, 0: 0.25, 3: 0.25}, {1: 1.0}, {7: 0.6, 8: 0.4})
    found = metrics.summarise(table, digits(0, 0, 1, 7))
    low, high = beta.ppf([0.025, 0.975], [3, 4], [2, 1])
    assert found.model_dump() == pytest.approx(
        {
            "images": 4,
            "accuracy": 0.75,
            "accuracy_low": low,
            "accuracy_high": high,
            "misclassified": 1,
            "loss": -(math.log(0.8) + math.log(0.25) + 0 + math.log(0.6)) / 4,
            "expected_calibration_error": (0.2 + 0.5 + 0 + 0.4) / 4,
            "macro_f1": (Fraction(2, 3) + 1 + 1) / 10,  # an absent class counts as 0
            "lowest_recall": Fraction(1, 2),  # an absent class has none
        },
        abs=1e-9,
    )


def test_float32_rounding_causes_no_warning(
    recwarn: pytest.WarningsRecorder,
) -> None:
    random = np.random.default_rng(1)
    table = random.dirichlet(np.ones(10), 200).astype(np.float32)
    labels = random.integers(0, 10, 200)
    expected = -np.log(table[np.arange(200), labels].astype(float)).mean()
    assert metrics.summarise(table, labels).loss == pytest.approx(expected, rel=1e-5)
    assert not recwarn.list


def test_every_class_has_a_row_even_if_absent() -> None:
    names = "abcdefghij"
    rows = metrics.per_class(digits(0, 2, 1, 7, 7), digits(0, 0, 1, 7, 9), names)
    assert "".join(str(row.pop("label")) for row in rows) == names
    nothing = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "images": 0.0}
    expected = [dict(nothing) for _ in names]
    expected[0] |= {"precision": 1, "recall": 0.5, "f1": 2 / 3, "images": 2}
    expected[1] |= {"precision": 1, "recall": 1, "f1": 1, "images": 1}
    expected[7] |= {"precision": 0.5, "recall": 1, "f1": 2 / 3, "images": 1}
    expected[9] |= {"images": 1}
    for row, values in zip(rows, expected, strict=True):
        assert row == pytest.approx(values)


def test_confusion_rows_are_truth_and_columns_predictions() -> None:
    matrix = metrics.confusion(digits(0, 2, 2, 7), digits(0, 0, 0, 7), 10)
    expected = np.zeros((10, 10), int)
    expected[0, 0], expected[0, 2], expected[7, 7] = 1, 2, 1
    assert np.array_equal(matrix, expected)
