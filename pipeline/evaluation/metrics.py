"""What is said of a classifier's answers on a labelled set."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from pipeline.core.reports import Metrics

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


def summarise(probabilities: Probabilities, labels: Labels) -> Metrics:
    """The metrics of probabilities [N, classes], of images whose true classes are `labels`."""
    classes = range(probabilities.shape[1])
    predictions = probabilities.argmax(1)
    exact = probabilities / probabilities.sum(1, keepdims=True, dtype=float)  # not float32's 1
    correct = int((predictions == labels).sum())
    low, high = accuracy_interval(correct, len(labels))
    f1 = precision_recall_fscore_support(
        labels, predictions, labels=classes, average="macro", zero_division=0
    )[2]
    return Metrics(
        images=len(labels),
        accuracy=correct / len(labels),
        accuracy_low=low,
        accuracy_high=high,
        misclassified=len(labels) - correct,
        loss=float(log_loss(labels, exact, labels=classes)),
        expected_calibration_error=expected_calibration_error(probabilities, labels),
        macro_f1=float(f1),
    )


def per_class(
    predictions: Labels, labels: Labels, names: Sequence[str]
) -> list[dict[str, str | float]]:
    """Precision, recall, F1 and number of images of each class, a row per class."""
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
    """Counts [classes, classes]: the true class by row, the predicted one by column."""
    matrix: NDArray[np.int64] = confusion_matrix(labels, predictions, labels=range(classes))
    return matrix
