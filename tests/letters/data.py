"""The published files: a NumPy archive per set, whose labels are the letters themselves."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from pipeline.core.errors import UserError
from pipeline.core.files import existing
from pipeline.core.task import LabelledImages


def read(raw: Path) -> tuple[LabelledImages, LabelledImages]:
    """The training set and the test set. Raises UserError for a missing or corrupt file."""
    return read_set(raw / "training.npz"), read_set(raw / "test.npz")


def read_set(path: Path) -> LabelledImages:
    """Images, uint8 [N, 32, 32], and labels, uint8 [N], with A as 0."""
    try:
        with np.load(existing(path), allow_pickle=False) as archive:
            images, letters = archive["images"], archive["letters"]
    except (BadZipFile, EOFError, KeyError, ValueError) as error:
        raise UserError(f"{path} is corrupt: {error}") from error
    numbers = np.char.encode(letters, "ascii").view(np.uint8) - ord("A")
    return LabelledImages(images, numbers.astype(np.uint8))
