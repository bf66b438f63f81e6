"""Training images together with those that were collected from use."""

from pathlib import Path

import numpy as np

from pipeline.core.files import read_tensors
from pipeline.core.task import LabelledImages


def training_images(training: Path, collected: Path) -> LabelledImages:
    """The images of `collected`, each as often as its weight says, then those of `training`.

    The images of the training set stay last, since the last images may be held out for validation.
    If nothing is collected, or `collected` does not exist, they are alone. UserError if a file is
    broken, or `training` is missing.
    """
    published = LabelledImages(**read_tensors(training))
    if not collected.exists():
        return published
    found = read_tensors(collected)
    if not len(found["labels"]):
        return published
    images, labels = (np.repeat(found[name], found["weights"], 0) for name in ("images", "labels"))
    return LabelledImages(
        np.concatenate([images, published.images]), np.concatenate([labels, published.labels])
    )
