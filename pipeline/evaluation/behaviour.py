"""The behaviour of a classifier on changed images: its accuracy, and predictions that change.

`classify` maps images, uint8 [N, H, W], to predicted classes [N].
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.distortions import DISTORTIONS, NUDGES, Images
from pipeline.evaluation.figures import Examples

Labels = NDArray[np.integer[Any]]
Classify = Callable[[Images], Labels]
UNDISTORTED = "undistorted"
NUDGED = 2
COLUMNS = 10  # images in each line of the sheet


def distorted_accuracy(classify: Classify, images: Images, labels: Labels) -> dict[str, float]:
    """The accuracy, 0..1, with each distortion."""
    return {
        name: float((classify(distort(images)) == labels).mean())
        for name, distort in DISTORTIONS.items()
    }


def changed_predictions(
    classify: Classify, images: Images, predictions: Labels
) -> dict[str, float]:
    """The fraction of images whose prediction changes with at least one of the nudges of a kind.

    Every NUDGED-th image is measured: there are several nudges of each kind. `predictions`: those
    for the images as they are.
    """
    images, predictions = images[::NUDGED], predictions[::NUDGED]
    return {
        name: float(np.any([classify(moved) != predictions for moved in nudge(images)], 0).mean())
        for name, nudge in NUDGES.items()
    }


def distorted_examples(
    images: Images, labels: Labels, accuracy: Mapping[str, float]
) -> list[Examples]:
    """The first image of up to COLUMNS classes, without and with each distortion.

    `accuracy`: by distortion, or UNDISTORTED.
    """
    chosen = np.unique(labels, return_index=True)[1][:COLUMNS]
    first = images[: chosen.max() + 1]
    rows = [Examples(UNDISTORTED, first[chosen], accuracy[UNDISTORTED])]
    for name, distort in DISTORTIONS.items():
        distorted = distort(first)[chosen]
        rows.append(Examples(distort.title, distorted, accuracy[name]))
    return rows
