"""Metrics of a classifier on labelled images.

scikit-learn and scipy.stats have the same, but importing them takes longer than all this.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainccinv, betaincinv

from pipeline.core.reports import Metrics

Labels = NDArray[np.integer[Any]]
Probabilities = NDArray[np.floating[Any]]


def accuracy_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Clopper-Pearson ("exact") confidence interval of the accuracy, ends in 0..1."""
    wrong, tail = total - correct, (1 - confidence) / 2
    low = float(betaincinv(correct, wrong + 1, tail)) if correct else 0.0
    high = float(betainccinv(correct + 1, wrong, tail)) if wrong else 1.0
    return low, high


def expected_calibration_error(
    probabilities: Probabilities, labels: Labels, bins: int = 15
) -> float:
    """Return the mean gap between confidence and accuracy, 0..1.

    The mean is over confidence bins of equal width, weighted by their size (Guo et al. 2017, "On
    Calibration of Modern Neural Networks", equation 3).
    """
    confidences = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    bin_indices = np.minimum((confidences * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_indices, confidences - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def summarise(probabilities: Probabilities, labels: Labels) -> Metrics:
    """Compute the metrics of probabilities [N, classes] against the true classes `labels` [N]."""
    predictions = probabilities.argmax(1)
    # float32 rows sum to 1 only up to rounding
    normalised = probabilities / probabilities.sum(1, keepdims=True, dtype=float)
    likelihoods = normalised[np.arange(len(labels)), labels]
    correct = int((predictions == labels).sum())
    low, high = accuracy_interval(correct, len(labels))
    _, _, f1 = _scores(confusion(predictions, labels, probabilities.shape[1]))
    return Metrics(
        images=len(labels),
        accuracy=correct / len(labels),
        accuracy_low=low,
        accuracy_high=high,
        misclassified=len(labels) - correct,
        loss=float(-np.log(np.maximum(likelihoods, np.finfo(float).eps)).mean()),
        expected_calibration_error=expected_calibration_error(probabilities, labels),
        macro_f1=float(f1.mean()),
    )


def per_class(
    predictions: Labels, labels: Labels, names: Sequence[str]
) -> list[dict[str, str | float]]:
    """Return precision, recall, F1 and number of images, one row per class."""
    matrix = confusion(predictions, labels, len(names))
    columns = dict(zip(("precision", "recall", "f1"), _scores(matrix), strict=True))
    columns["images"] = matrix.sum(1)
    return [
        {"label": name, **{of: column[number].item() for of, column in columns.items()}}
        for number, name in enumerate(names)
    ]


def confusion(predictions: Labels, labels: Labels, classes: int) -> NDArray[np.int64]:
    """Return counts [classes, classes], with true classes in rows and predictions in columns."""
    cells = labels.astype(np.int64) * classes + predictions
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def _scores(matrix: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Precision, recall and F1 of each class of a confusion matrix; 0 where undefined."""
    right, predicted, true = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
    return (
        right / np.maximum(predicted, 1),
        right / np.maximum(true, 1),
        2 * right / np.maximum(predicted + true, 1),
    )
