"""Accuracy on the live test set: labelled images from use that no network was trained on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.collect_report import LiveQuality, LiveReport
from pipeline.core.files import read_tensors, sha256
from pipeline.evaluation.metrics import accuracy_interval

# from images, uint8 [N, H, W]: predicted classes [N], and which images show none of them, bool [N]
Classify = Callable[[NDArray[np.uint8]], tuple[NDArray[np.int64], NDArray[np.bool_]]]


def measure_live(path: Path, minimum: int, model_sha256: str, classify: Classify) -> LiveReport:
    """Measure a model on the live test set in `path`, unless it has fewer than `minimum` images.

    An image counts as classified correctly by its class alone, as in the test set, even if the
    model says that it shows none. The file need not exist. UserError if it is broken.
    """
    exists = path.exists()
    images = len((found := read_tensors(path))["labels"]) if exists else 0
    quality = None
    if images >= minimum:
        classes, refused = classify(found["images"])
        correct = int((classes == found["labels"]).sum())
        low, high = accuracy_interval(correct, images)
        quality = LiveQuality(
            accuracy=correct / images,
            accuracy_low=low,
            accuracy_high=high,
            refused=float(refused.mean()),
        )
    return LiveReport(
        model_sha256=model_sha256,
        live_sha256=sha256(path) if exists else None,
        images=images,
        quality=quality,
    )
