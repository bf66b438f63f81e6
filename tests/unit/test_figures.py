"""Figures are legible and limited in size for any number and length of class names."""

from itertools import pairwise

import numpy as np
import pytest

from pipeline.core.figures import Figure
from pipeline.evaluation.figures import (
    Examples,
    behaviour_sheet,
    confusion_matrix,
    misclassified_sheet,
    sample_sheet,
)

MOST_PIXELS = 6000  # of the longer side


def names_of(classes: int, length: int) -> list[str]:
    return [f"{number:03} of the classes of things"[:length] for number in range(classes)]


def pixels(figure: Figure) -> float:
    """The length of the longer side."""
    return float(max(figure.get_size_inches()) * figure.dpi)


def sheet_of_errors(names: list[str], count: int) -> Figure:
    images, numbers = np.zeros((count, 9, 8), np.uint8), np.arange(count) % len(names)
    predictions = (numbers + 1) % len(names)
    confidences = np.full(count, 0.99, np.float32)
    maps = np.zeros(images.shape, np.float32)
    labels = numbers.astype(np.uint8)
    return misclassified_sheet(images, labels, predictions, confidences, maps, names)


@pytest.mark.parametrize("length", [4, 30])
@pytest.mark.parametrize("classes", [2, 26, 256])
def test_figure_sizes_are_limited(classes: int, length: int) -> None:
    names = names_of(classes, length)
    images, labels = np.zeros((classes, 9, 8), np.uint8), np.arange(classes).astype(np.uint8)
    assert pixels(sample_sheet(images, labels, names)) < MOST_PIXELS
    matrix = np.eye(classes, dtype=np.int64)
    assert pixels(confusion_matrix(matrix, names, "thing")) < 2000


@pytest.mark.parametrize("length", [1, 2, 12, 30])
def test_adjacent_titles_do_not_overlap(length: int) -> None:
    names = [
        name[:length]
        for name in ("WOMBATS AND MARMOTS OF THE ALPS", "MARMOTS AND ALL OTHER ANIMALS")
    ]
    figure = sheet_of_errors(names, 10)
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize(("classes", "numbers"), [(2, 4), (26, 26 * 26), (200, 0)])
def test_counts_appear_only_where_they_fit(classes: int, numbers: int) -> None:
    matrix = np.ones((classes, classes), np.int64)
    axes = confusion_matrix(matrix, names_of(classes, 3), "thing").axes[0]
    assert len(axes.texts) == numbers
    assert len(axes.get_xticks()) <= 100


def test_class_names_are_not_parsed_as_formulas() -> None:
    names = ["$\\frac$", "$x"]
    rows = [Examples(name, np.zeros((3, 9, 8), np.uint8), 0.9) for name in names]
    for figure in (
        behaviour_sheet(rows, "share"),
        sample_sheet(np.zeros((2, 9, 8), np.uint8), np.array([0, 1], np.uint8), names),
        confusion_matrix(np.eye(2, dtype=np.int64), names, "thing"),
        sheet_of_errors(names, 2),
    ):
        figure.draw_without_rendering()
