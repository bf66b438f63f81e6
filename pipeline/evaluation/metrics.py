"""What is said of a classifier's answers on a labelled set."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

Labels = NDArray[np.integer[Any]]
Probabilities = NDArray[np.floating[Any]]


def accuracy_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Clopper-Pearson ("exact") interval of the accuracy, both ends 0..1."""
    interval = binomtest(correct, total).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def expected_calibration_error(
    probabilities: Probabilities, labels: Labels, bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over equally wide bins of confidence, weighted by
    their size, 0..1 (Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3)."""
    confidences = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    numbers = np.minimum((confidences * bins).astype(int), bins - 1)
    gaps = np.bincount(numbers, confidences - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def summarise(probabilities: Probabilities, labels: Labels) -> dict[str, float]:
    """Accuracy with its 95 % interval, mistakes, cross-entropy, calibration error, macro F1."""
    predictions = probabilities.argmax(1)
    exact = probabilities / probabilities.sum(1, keepdims=True, dtype=float)  # not float32's 1
    correct = int((predictions == labels).sum())
    low, high = accuracy_interval(correct, len(labels))
    f1 = precision_recall_fscore_support(
        labels, predictions, labels=range(10), average="macro", zero_division=0
    )[2]
    return {
        "accuracy": correct / len(labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "mistakes": len(labels) - correct,
        "loss": float(log_loss(labels, exact, labels=range(10))),
        "expected_calibration_error": expected_calibration_error(probabilities, labels),
        "macro_f1": float(f1),
    }


def per_class(predictions: Labels, labels: Labels) -> list[dict[str, float]]:
    """Precision, recall, F1 and number of images of each digit, a row per digit."""
    columns = precision_recall_fscore_support(
        labels, predictions, labels=range(10), zero_division=0
    )
    names = ["precision", "recall", "f1", "images"]
    return [
        {
            "digit": digit,
            **{name: column[digit].item() for name, column in zip(names, columns, strict=True)},
        }
        for digit in range(10)
    ]


def confusion(predictions: Labels, labels: Labels) -> NDArray[np.int64]:
    """Counts [10, 10]: true digit by row, predicted digit by column."""
    matrix: NDArray[np.int64] = confusion_matrix(labels, predictions, labels=range(10))
    return matrix
