"""The behaviour of a classifier on changed images: its accuracy, and predictions that change."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.reports import Behaviour
from pipeline.evaluation.distortions import DISTORTIONS, NUDGES, Images

Labels = NDArray[np.integer[Any]]
Classify = Callable[[Images], Labels]  # images, uint8 [N, H, W], to predicted classes [N]


def measure(classify: Classify, images: Images, labels: Labels, model_sha256: str) -> Behaviour:
    """Measure a model on test images with each distortion and each nudge."""
    predictions = classify(images)
    return Behaviour(
        model_sha256=model_sha256,
        distorted_accuracy={
            name: float((classify(distort(images)) == labels).mean())
            for name, distort in DISTORTIONS.items()
        },
        changed_predictions={
            name: float(
                np.any([classify(nudged) != predictions for nudged in nudge(images)], 0).mean()
            )
            for name, nudge in NUDGES.items()
        },
    )
