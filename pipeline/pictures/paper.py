"""Separates ink from paper: how much of the paper's light the ink takes away.

Light is rarely even: it falls off, shadows have edges, and a sheet is on a desk. Each pixel is
therefore compared with the paper around it. A stroke is thinner than the window in which the
comparison looks for paper; shadows and desks are wider, or reach the border.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pipeline.core.task import ImageForm

Grey = NDArray[np.float32]
WORKING = 400  # pixels: the longer side of the copy that is searched for ink
FINE = 8  # times the ink of the form: the resolution of the working copy
WINDOW = 0.35  # of the shorter side: wider than strokes, narrower than sheets and shadows
COARSE = 100  # pixels: the longer side of the copy that decides what is paper
DARK = 32  # of 255: darker paper counts as this light
SHADE = 0.5  # of the lightest paper: what is darker than the deepest shadow is no paper


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


def ink_on_paper(grey: Grey, form: ImageForm) -> tuple[Grey, float]:
    """How much ink is on each pixel, and how much that varies on clean paper.

    Dark ink: the share of the paper's light that it absorbs, from 0 to 1. Light ink: how much it
    adds.
    """
    grey = without_grain(grey, form)
    width = max(3, round(WINDOW * min(grey.shape))) | 1
    padded = np.pad(grey, width, "edge")  # shadows and desks continue outside
    inner = slice(width, -width)
    lightest = ndimage.grey_closing(padded, (width, width))[inner, inner]
    darkest = ndimage.grey_opening(padded, (width, width))[inner, inner]
    if _paper_is_light(grey, lightest, darkest):
        paper, depth, unit = lightest, lightest - grey, 1.0
        least = max(DARK, SHADE * float(paper.max()))
    else:
        unit, least = DARK / 255, float(DARK)
        paper, depth = darkest, (grey - darkest) * unit
    ink = depth / np.maximum(paper, least)
    clean = paper >= SHADE * paper.max()
    low, middle = np.percentile(ink[clean], [5, 30])  # of a normal distribution; ink is above them
    grain = float(middle - low) / 1.12
    step = unit / max(float(np.median(paper[clean])), least)
    return ink - (middle + 0.52 * grain), max(grain, step)


def border_of(grey: Grey) -> Grey:
    """The pixels along the border."""
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _paper_is_light(grey: Grey, lightest: Grey, darkest: Grey) -> bool:
    """Whether most of the pixels in and around marks are as light as the lightest of them.

    Marks are where the lightest and the darkest level differ: strokes and what they enclose.
    """
    step = max(1, max(grey.shape) // COARSE)
    grey, lightest, darkest = (part[::step, ::step] for part in (grey, lightest, darkest))
    contrast = lightest - darkest
    mark = contrast > contrast.max() / 4
    if not mark.any():
        return True
    distance, nearest = ndimage.distance_transform_edt(~mark, return_indices=True)
    around = distance < WINDOW / 2 * min(grey.shape)
    middle = ((lightest + darkest) / 2)[tuple(nearest)]
    return bool((grey > middle)[around].mean() >= 0.5)
