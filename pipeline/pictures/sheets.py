"""Cuts out a sheet of paper that is on a desk."""

from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from pipeline.pictures.marks import NEIGHBOURS, Box, box_of
from pipeline.pictures.paper import Grey, border_of
from pipeline.pictures.ruling import Mask

COARSE = 120  # pixels: the longer side of the copy in which a sheet is sought
CONTRAST = 20  # of 255: between sheet and desk
LEAST = 0.35  # share of each side of the picture that a sheet covers
INK = 0.002  # share of a sheet
STRAIGHT = 0.93  # share of the smallest rectangle around a sheet that it covers
ANGLES = np.radians(np.arange(-10, 11))
INSET = 0.015  # share of the sheet's longer side that is cut off on each side


class Rectangle(NamedTuple):
    """A rectangle, turned by an angle around the origin, in pixels."""

    angle: float  # in radians
    left: float
    top: float
    width: float
    height: float


def on_sheet(grey: Grey) -> Grey:
    """The part of a picture that shows a sheet, upright, if there is one; else the picture.

    A sheet is a rectangle on a darker or lighter desk that surrounds it, with something on it.
    """
    factor = -(-max(grey.shape) // COARSE)
    small = np.asarray(Image.fromarray(grey).reduce(factor)) if factor > 1 else grey
    if min(small.shape) < 5:
        return grey
    levels: tuple[Grey, Grey] = (small, -small)
    for level in levels:
        desk = np.float32(np.percentile(border_of(level), 95))
        labels, count = ndimage.label(level > desk + CONTRAST, NEIGHBOURS)
        if count == 0:
            continue
        mask = labels == np.bincount(labels[labels > 0]).argmax()
        box = box_of(mask)
        if _inside(box, mask.shape):
            found = _rectangle(mask[box], level[box] - desk, mask.shape)
            if found is not None:
                return _straightened(grey, found, (box[1].start, box[0].start), factor)
    return grey


def _straightened(grey: Grey, found: Rectangle, origin: tuple[int, int], factor: int) -> Grey:
    """A rectangle of a picture, upright; `origin` is that of its coordinates."""
    angle, left, top, width, height = found
    cut = INSET * max(width, height) + 1
    u, v = left + cut, top + cut
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = (
        factor * (start + place + 0.5)
        for start, place in zip(origin, (u * cos - v * sin, u * sin + v * cos), strict=True)
    )
    right, bottom = (max(1, round(factor * (length - 2 * cut))) for length in (width, height))
    coefficients = (cos, -sin, x, sin, cos, y)
    upright = Image.fromarray(grey).transform(
        (right, bottom), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    return np.asarray(upright)


def _inside(box: Box, shape: tuple[int, ...]) -> bool:
    return all(part.start > 0 and part.stop < side for part, side in zip(box, shape, strict=True))


def _rectangle(mask: Mask, level: Grey, shape: tuple[int, ...]) -> Rectangle | None:
    """The smallest rectangle around a sheet; None if this is no large sheet with something on it.

    `level`: how much lighter than the desk it is.
    """
    if any(length < LEAST * side for length, side in zip(mask.shape, shape, strict=True)):
        return None
    filled = ndimage.binary_fill_holes(mask)
    y, x = np.nonzero(filled)
    rectangles = []
    for angle in ANGLES:
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        rectangles.append(
            Rectangle(angle, u.min(), v.min(), float(np.ptp(u)) + 1, float(np.ptp(v)) + 1)
        )
    smallest = min(rectangles, key=lambda found: found.width * found.height)
    within = level[ndimage.binary_erosion(filled, NEIGHBOURS, 2)]
    marked = within < 0.75 * np.median(level[mask])
    is_sheet = (
        filled.sum() > STRAIGHT * smallest.width * smallest.height
        and mask.sum() > filled.sum() / 2
        and marked.mean() > INK
    )
    return smallest if is_sheet else None
