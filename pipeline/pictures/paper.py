"""Separates ink from paper: how light the paper is, and how much darker the ink is.

Paper is rarely even: it has shadows and grain. Each pixel is therefore compared with the paper
around it.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pipeline.core.task import ImageForm

Grey = NDArray[np.float32]
WORKING = 400  # pixels: the longer side of the copy that is searched for ink
COARSE = 20  # pixels: the minimum of the shorter side of the copy to which the light is fitted
FINE = 8  # times the ink of the form: the resolution of the working copy


def reduced(grey: Grey, form: ImageForm) -> tuple[Grey, int]:
    """A copy of at most 400 x 400 pixels, or more for a form with much ink, and the factor of the
    reduction along a side.
    """
    factor = -(-max(grey.shape) // max(WORKING, FINE * form.ink))
    return (np.asarray(Image.fromarray(grey).reduce(factor)) if factor > 1 else grey), factor


def without_grain(grey: Grey, form: ImageForm) -> Grey:
    """A picture, smoothed if it has grain and is larger than an image of the form, whose strokes
    would be smoothed away.
    """
    if min(grey.shape) <= min(form.shape):
        return grey
    has_grain = np.percentile(np.abs(np.diff(grey, axis=1)), 25) > 0.5
    return ndimage.gaussian_filter(grey, 1) if has_grain else grey


def ink_on_paper(grey: Grey, form: ImageForm) -> tuple[Grey, Grey, float]:
    """How much darker than the paper each pixel is, how light the paper is there, and its grain.

    Light ink on dark paper is inverted first.
    """
    grey = without_grain(grey, form)
    light, is_dark = light_on(grey, form)
    if is_dark:
        grey, light = 255 - grey, 255 - light
    paper, grain = _paper(grey, light)
    return paper - grey, paper, grain


def light_on(grey: Grey, form: ImageForm) -> tuple[Grey, bool]:
    """The light on the paper, and whether the paper is darker than the ink.

    The light is a quadratic surface through most of the pixels; the others are ink. It is fitted to
    a copy about as small as an image of the form.
    """
    factor = max(1, min(grey.shape) // max(COARSE, min(form.shape)))
    small = np.asarray(Image.fromarray(grey).reduce(factor))
    y, x = (np.arange(length) * factor / max(grey.shape) - 0.5 for length in small.shape)
    terms = [np.ones_like(y)[:, None], y[:, None], y[:, None] ** 2, x, x**2, y[:, None] * x]
    columns = np.stack([np.broadcast_to(term, small.shape).ravel() for term in terms], 1)
    values = small.ravel()
    rest = values - np.median(values)
    last = np.zeros(0)
    for _ in range(8):
        inner = np.abs(rest) <= 2.5 * np.median(np.abs(rest)) + 1
        if np.array_equal(inner, last):
            break
        last = inner
        factors = np.linalg.lstsq(columns[inner], values[inner])[0]
        rest = values - columns @ factors
    if inner.mean() < 0.6:  # as much ink as paper: take the corners for paper
        level = np.median(small[[0, 0, -1, -1], [0, -1, 0, -1]])
        return np.full_like(grey, level), bool(((values - level) ** 3).sum() > 0)
    y, x = (np.arange(length) / max(grey.shape) - 0.5 for length in grey.shape)
    y = y[:, None]
    one, down, down2, right, right2, both = factors
    light = (one + down * y + down2 * y**2) + (right * x + right2 * x**2) + both * y * x
    return light.astype(np.float32), bool((rest**3).sum() > 0)


def _paper(grey: Grey, light: Grey) -> tuple[Grey, float]:
    """How light the paper is at each pixel, also under dark ink, and how much it varies."""
    width = max(3, min(grey.shape) // 2) | 1
    paper = light + ndimage.grey_closing(grey - light, (width, width))
    depth = paper - grey
    low, middle = np.percentile(depth, [5, 30])  # of a normal distribution; ink is above them
    grain = float(middle - low) / 1.12
    return paper - (middle + 0.52 * grain), grain
