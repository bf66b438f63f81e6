"""Converts a picture of one character to the model's form: finds, scales and centres its ink."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pipeline.core.task import NO_INK, ImageForm
from pipeline.pictures.grey import Picture
from pipeline.pictures.marks import (
    NEIGHBOURS,
    Box,
    NotOneCharacter,
    box_of,
    character_in,
    fills,
    one_mark,
)
from pipeline.pictures.paper import Grey, border_of, ink_on_paper, reduced, without_grain
from pipeline.pictures.sheets import on_sheet

EVEN = 0.04  # of the contrast: the variation of clean paper
INKED = 0.6  # share of the border that the ink of a cropped character covers
SHADED = 0.4  # share of the border of clean paper that is neither clearly light nor clearly dark
SHARP = 2  # times the ink of the form: a smaller box of ink is examined again, closer
FAINT = 32 / 255  # of the darkest ink: the antialiased edge of a stroke


def bring_into_form(picture: Picture, form: ImageForm) -> NDArray[np.uint8]:
    """A picture [H, W] of one character in the form [height, width]: light ink on black, scaled to
    fit the square of the form's ink, with its centre of mass in the middle.

    NotOneCharacter if there is no ink, or the ink of several characters.
    """
    grey = on_sheet(np.asarray(picture, np.float32))
    return _centred(_scaled(_ink(_with_margin(grey, form), form), form), form)


def _with_margin(grey: Grey, form: ImageForm) -> Grey:
    """Add a margin of paper to a picture that is cropped to the ink of a character on clean paper.

    Otherwise strokes along the border could be mistaken for paper.
    """
    small, factor = reduced(grey, form)
    small = without_grain(small, form)
    middle = (small.min() + small.max()) / 2
    is_light = bool(np.median(border_of(small)) > middle)
    paper = float(np.percentile(small[(small > middle) == is_light], 75 if is_light else 25))
    contrast = max(2 * abs(paper - middle), 1)
    ink = np.abs(paper - small) / contrast
    along = border_of(ink)
    shaded = ((along > 0.15) & (along < 0.5)).mean()
    if (
        shaded > SHADED
        or (along > 0.5).mean() > INKED
        or np.percentile(ink[ink < 0.25], 25) > EVEN
        or not fills(ink > 0.35)
    ):
        return grey
    margin = max(1, max(small.shape) // 4) * factor
    return np.pad(grey, margin, constant_values=paper)


def _ink(grey: Grey, form: ImageForm) -> Grey:
    """The ink of a character, cropped to it, from 0 (no ink) to 255."""
    small, factor = reduced(grey, form)
    ink, grain = ink_on_paper(small, form)
    parts, others = character_in(ink, grain)
    box = box_of(parts)
    if factor > 1 and max(parts[box].shape) < SHARP * form.ink:
        return _ink(_closer(grey, box, factor), form)
    parts = one_mark(parts)
    edge = max(2, max(parts.shape) // 100)
    mask = ndimage.binary_dilation(parts, NEIGHBOURS, edge) & (ink > grain / 2) & ~others
    clear = mask & (ink > FAINT * ink[mask].max())
    box = box_of(clear)
    cut: Grey = np.where(mask, ink, 0)[box]
    cut *= 255 / cut.max()
    return cut


def _closer(grey: Grey, box: Box, factor: int) -> Grey:
    """The part of a picture in a box of its reduced copy, with a margin as wide as the box."""
    width = max(part.stop - part.start for part in box)
    rows, columns = (
        slice(max(0, part.start - width) * factor, (part.stop + width) * factor) for part in box
    )
    return grey[rows, columns]


def _scaled(ink: Grey, form: ImageForm) -> NDArray[np.uint8]:
    """Ink scaled to fit the square of the form, and stretched to 255."""
    scale = form.ink / max(ink.shape)
    height, width = (max(1, round(length * scale)) for length in ink.shape)
    small = np.asarray(
        Image.fromarray(np.rint(ink).astype(np.uint8)).resize(
            (width, height), Image.Resampling.LANCZOS
        ),
        np.float32,
    )
    if not small.any():
        raise NotOneCharacter(NO_INK, "no ink found")
    stretched: NDArray[np.uint8] = np.rint(small * (255 / small.max())).astype(np.uint8)
    return stretched


def _centred(ink: NDArray[np.uint8], form: ImageForm) -> NDArray[np.uint8]:
    """Ink on a black image of the form, its centre of mass as near the middle as there is room."""
    result = np.zeros(form.shape, np.uint8)
    top, left = (
        int(np.clip(round(side / 2 - middle), 0, side - length))
        for side, middle, length in zip(
            form.shape, ndimage.center_of_mass(ink), ink.shape, strict=True
        )
    )
    result[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return result
