"""What is said of a classifier's answers on a labelled set."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

Labels = NDArray[np.integer[Any]]
Probabilities = NDArray[np.floating[Any]]


def accuracy_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Clopper-Pearson ("exact") interval of the accuracy, both ends 0..1: quantiles of beta."""
    tail, mistakes = (1 - confidence) / 2, total - correct
    low = betaincinv(correct, mistakes + 1, tail) if correct else 0
    high = betaincinv(correct + 1, mistakes, 1 - tail) if mistakes else 1
    return float(low), float(high)


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
    given_to_truth = exact[np.arange(len(labels)), labels]
    correct = int((predictions == labels).sum())
    low, high = accuracy_interval(correct, len(labels))
    return {
        "accuracy": correct / len(labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "mistakes": len(labels) - correct,
        "loss": float(-np.log(given_to_truth.clip(np.finfo(float).eps)).mean()),
        "expected_calibration_error": expected_calibration_error(probabilities, labels),
        "macro_f1": float(np.mean([row["f1"] for row in per_class(predictions, labels)])),
    }


def per_class(predictions: Labels, labels: Labels) -> list[dict[str, float]]:
    """Precision, recall, F1 and number of images of each digit, a row per digit; 0 for 0 / 0."""
    matrix = confusion(predictions, labels)
    right, predicted, images = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
    columns = {
        "digit": np.arange(10),
        "precision": right / predicted.clip(1),
        "recall": right / images.clip(1),
        "f1": 2 * right / (predicted + images).clip(1),
        "images": images,
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def confusion(predictions: Labels, labels: Labels) -> NDArray[np.int64]:
    """Counts [10, 10]: true digit by row, predicted digit by column."""
    return np.bincount(10 * labels.astype(int) + predictions, minlength=100).reshape(10, 10)
