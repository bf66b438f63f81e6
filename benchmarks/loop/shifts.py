"""What clients send: digits as in the training set, and what the traffic shifts to."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from tests.digits import Images, make_digits
from tests.letters import drawing

SLANT = 0.5  # columns to the right for each row upwards
PEN = 3  # pixels that the pen covers
SIDE = 28  # pixels
NO_DIGIT = "not a digit"


class Traffic(NamedTuple):
    """Images [N, 28, 28], and what people say that each shows: a digit or NO_DIGIT."""

    images: Images
    truth: list[str]


def known_hand(count: int, seed: int) -> Traffic:
    """Digits like those of the training set."""
    images, labels = make_digits(count, seed)
    return Traffic(images, [str(label) for label in labels])


def other_hand(count: int, seed: int) -> Traffic:
    """Slanted digits, written with a thick pen."""
    images, truth = known_hand(count, seed)
    return Traffic(np.stack([_slanted(image) for image in images]), truth)


def letters(count: int, seed: int) -> Traffic:
    """Printed capital letters."""
    drawn = (Image.fromarray(image) for image in drawing.draw(count, seed).images)
    size = (SIDE, SIDE)
    images = [np.asarray(each.resize(size, Image.Resampling.BILINEAR)) for each in drawn]
    return Traffic(np.stack(images), [NO_DIGIT] * count)


def noise(count: int, seed: int) -> Traffic:
    """Pixels of random intensity."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, SIDE, SIDE), np.uint8)
    return Traffic(images, [NO_DIGIT] * count)


SHIFTS: dict[str, Callable[[int, int], Traffic]] = {
    "hand": other_hand,
    "letters": letters,
    "noise": noise,
}


def _slanted(image: Images) -> Images:
    thick = Image.fromarray(image).filter(ImageFilter.MaxFilter(PEN))
    middle = image.shape[0] / 2
    shear = (1, SLANT, -SLANT * middle, 0, 1, 0)
    size = image.shape[::-1]
    return np.asarray(
        thick.transform(size, Image.Transform.AFFINE, shear, Image.Resampling.BILINEAR)
    )
