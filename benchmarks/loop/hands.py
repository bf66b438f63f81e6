"""Digits as two people write them: as in the training set, and slanted with a thick pen."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tests.digits import make_digits

SLANT = 0.5  # columns to the right for each row upwards
PEN = 3  # pixels that the pen covers
Digits = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # images [N, 28, 28], labels [N]


def known_hand(count: int, seed: int) -> Digits:
    """Digits like those of the training set."""
    return make_digits(count, seed)


def other_hand(count: int, seed: int) -> Digits:
    """Slanted digits, written with a thick pen."""
    images, labels = make_digits(count, seed)
    return np.stack([_slanted(image) for image in images]), labels


def _slanted(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    thick = Image.fromarray(image).filter(ImageFilter.MaxFilter(PEN))
    middle = image.shape[0] / 2
    shear = (1, SLANT, -SLANT * middle, 0, 1, 0)
    size = image.shape[::-1]
    return np.asarray(
        thick.transform(size, Image.Transform.AFFINE, shear, Image.Resampling.BILINEAR)
    )
