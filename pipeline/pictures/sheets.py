"""Finds a sheet of paper that lies on a desk."""

import numpy as np
from PIL import Image
from scipy import ndimage

from pipeline.pictures.marks import NEIGHBOURS, Box, Mask, box_of
from pipeline.pictures.paper import Grey

COARSE = 120  # pixels: the longer side of the copy in which a sheet is sought
CONTRAST = 20  # of 255: between sheet and desk
LEAST = 0.1  # share of the picture that a sheet covers
MOST_INK = 0.4  # share of a sheet
STRAIGHT = 0.93  # share of the smallest rectangle around a sheet that it covers
ANGLES = np.radians(np.arange(-10, 11, 2))
INSET = 0.02  # share of the sheet's sides that is cut off


def on_sheet(grey: Grey) -> Grey:
    """The part of a picture that shows a sheet, if there is one; else the picture.

    A sheet is a rectangle on a darker or lighter desk that surrounds it, with something on it.
    """
    factor = -(-max(grey.shape) // COARSE)
    small = np.asarray(Image.fromarray(grey).reduce(factor)) if factor > 1 else grey
    if min(small.shape) < 5:
        return grey
    for level in (small, -small):
        desk = np.concatenate([level[0], level[-1], level[:, 0], level[:, -1]])
        labels, count = ndimage.label(level > np.percentile(desk, 95) + CONTRAST, NEIGHBOURS)
        if count == 0:
            continue
        mask = labels == np.bincount(labels[labels > 0]).argmax()
        box = box_of(mask)
        if _inside(box, mask.shape) and _is_sheet(mask[box], small.size):
            cut = round(INSET * max(mask[box].shape) + 0.5)
            rows, columns = (
                slice((part.start + cut) * factor, (part.stop - cut) * factor) for part in box
            )
            return grey[rows, columns]
    return grey


def _inside(box: Box, shape: tuple[int, ...]) -> bool:
    return all(part.start > 0 and part.stop < side for part, side in zip(box, shape, strict=True))


def _is_sheet(mask: Mask, pixels: int) -> bool:
    """Whether this is a solid rectangle with holes: strokes, but not the counter of a letter."""
    filled = ndimage.binary_fill_holes(mask)
    area = int(filled.sum())
    ink = 1 - mask.sum() / area
    if area < LEAST * pixels or not 0.002 < ink < MOST_INK:
        return False
    rows, columns = np.nonzero(filled)
    rectangles = [
        (np.ptp(columns * np.cos(a) + rows * np.sin(a)) + 1)
        * (np.ptp(rows * np.cos(a) - columns * np.sin(a)) + 1)
        for a in ANGLES
    ]
    return bool(area > STRAIGHT * min(rectangles))
