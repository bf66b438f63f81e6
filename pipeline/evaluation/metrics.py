"""Metrics of a classifier on labelled images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import (
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    recall_score,
)

from pipeline.core.reports import Metrics

Labels = NDArray[np.integer[Any]]
Probabilities = NDArray[np.floating[Any]]


def accuracy_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Clopper-Pearson ("exact") confidence interval of the accuracy, ends in 0..1."""
    interval = binomtest(correct, total).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


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
    classes = range(probabilities.shape[1])
    predictions = probabilities.argmax(1)
    # float32 rows sum to 1 only up to rounding
    normalised = probabilities / probabilities.sum(1, keepdims=True, dtype=float)
    correct = int((predictions == labels).sum())
    low, high = accuracy_interval(correct, len(labels))
    f1 = precision_recall_fscore_support(
        labels, predictions, labels=classes, average="macro", zero_division=0
    )[2]
    recalls = recall_score(labels, predictions, labels=np.unique(labels), average=None)
    return Metrics(
        images=len(labels),
        accuracy=correct / len(labels),
        accuracy_low=low,
        accuracy_high=high,
        misclassified=len(labels) - correct,
        loss=float(log_loss(labels, normalised, labels=classes)),
        expected_calibration_error=expected_calibration_error(probabilities, labels),
        macro_f1=float(f1),
        lowest_recall=float(np.min(recalls)),
    )


def per_class(
    predictions: Labels, labels: Labels, names: Sequence[str]
) -> list[dict[str, str | float]]:
    """Return precision, recall, F1 and number of images, one row per class."""
    columns = precision_recall_fscore_support(
        labels, predictions, labels=range(len(names)), zero_division=0
    )
    measures = ["precision", "recall", "f1", "images"]
    return [
        {
            "label": name,
            **{of: column[number].item() for of, column in zip(measures, columns, strict=True)},
        }
        for number, name in enumerate(names)
    ]


def confusion(predictions: Labels, labels: Labels, classes: int) -> NDArray[np.int64]:
    """Return counts [classes, classes], with true classes in rows and predictions in columns."""
    matrix: NDArray[np.int64] = confusion_matrix(labels, predictions, labels=range(classes))
    return matrix
