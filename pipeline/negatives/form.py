"""Brings ink into the form of the data set, as its images were made, and bends it."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pipeline.core.task import ImageForm

Ink = NDArray[np.uint8]  # [H, W], 0: none
CLEAR = 32  # ink that counts when it is cropped
WAVES = 4


def fit(ink: Ink, form: ImageForm) -> Ink:
    """Crop ink, scale it to the square of the form, and centre it by mass; at least one pixel."""
    box = cropped(ink)
    scale = form.ink / max(box.shape)
    height, width = (max(1, round(side * scale)) for side in box.shape)
    small = np.asarray(Image.fromarray(box).resize((width, height), Image.Resampling.BILINEAR))
    image = np.zeros(form.shape, np.uint8)
    rows, columns = (small.sum(axis, dtype=float) for axis in (1, 0))
    middle = [(np.arange(len(sums)) * sums).sum() / max(sums.sum(), 1) for sums in (rows, columns)]
    top, left = (
        int(np.clip(round(side / 2 - mean), 0, side - length))
        for side, mean, length in zip(form.shape, middle, small.shape, strict=True)
    )
    image[top : top + height, left : left + width] = small * (255 / max(small.max(), 1))
    return image


def cropped(ink: Ink) -> Ink:
    """The box of the clear ink, or everything if there is none."""
    clear = ink > CLEAR
    rows, columns = (np.flatnonzero(clear.any(axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else ink


def bent(
    ink: Ink, random: np.random.Generator, *, bend: float, shear: float, stretch: float
) -> Ink:
    """Ink under a random linear map and a sum of plane waves, as an unsteady hand would draw it.

    bend: standard deviation of the waves, as a fraction of half a side; shear: largest shear and
    rotation, as a tangent; stretch: largest relative change of height against width.
    """
    height, width = ink.shape
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    slant, turn = random.uniform(-shear, shear, 2)
    ratio = 1 + random.uniform(-stretch, stretch)
    down, across = random.uniform(-3, 3, (2, WAVES, 1, 1))
    waves = np.sin(down * y + across * x + random.uniform(0, 2 * np.pi, (WAVES, 1, 1)))
    dy, dx = np.tensordot(random.normal(0, bend, (2, WAVES)), waves, 1)
    source = y + turn * x + dy, ratio * x + slant * y + dx
    places = [(place + 1) / 2 * (side - 1) for place, side in zip(source, ink.shape, strict=True)]
    found: Ink = ndimage.map_coordinates(ink, np.broadcast_arrays(*places), order=1)
    return found
