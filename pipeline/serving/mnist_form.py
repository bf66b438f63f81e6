"""Pictures of a digit in the form that MNIST has."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pipeline.serving.pictures import Picture

Images = NDArray[np.uint8]
SIDE, INK = 28, 20  # pixels: of an image, and of the box that MNIST scales the ink to


def to_mnist_form(picture: Picture) -> Images:
    """A picture [H, W] as MNIST was made, [28, 28]: light ink on black, scaled to fit 20 x 20, its
    centre of mass at (14, 14). A light background is inverted, a picture without ink is black.
    """
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    ink = picture.astype(np.float32)
    if np.median(border) > 127:
        ink = 255 - ink
    ink = np.clip(ink - np.percentile(ink, 10), 0, None)
    result = np.zeros((SIDE, SIDE), np.uint8)
    if ink.max() < 16:
        raise ValueError("no ink found")
    ink *= 255 / ink.max()
    rows, columns = (np.flatnonzero((ink > 32).any(axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = INK / max(ink.shape)
    size = [max(1, round(length * scale)) for length in ink.shape]
    small = Image.fromarray(ink.astype(np.uint8)).resize(
        (size[1], size[0]), Image.Resampling.LANCZOS
    )
    scaled = np.asarray(small)
    if not scaled.any():  # specks, far from each other
        raise ValueError("no ink found")
    centre = ndimage.center_of_mass(scaled)
    top, left = (
        int(np.clip(round(SIDE / 2 - middle), 0, SIDE - length))
        for middle, length in zip(centre, size, strict=True)
    )
    result[top : top + size[0], left : left + size[1]] = scaled
    return result
