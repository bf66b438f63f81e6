"""Tells the marks of a character from specks, lines, frames and the edge of a table."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.pictures.paper import Grey

Mask = NDArray[np.bool_]
Box = tuple[slice, slice]
MIN_CONTRAST = 6  # of 255
MIN_SIZE = 5  # pixels: of ink
SHEET = 40  # pixels: a smaller sheet has no character on it
PAPER = 0.85  # share of a sheet without ink, unless the writing is bold
SOLID = 0.7  # share of its box that a counter fills
FULL = 0.85  # share of a side that a character fills if it is cropped close to its ink
ALONG = 0.8  # share of a border that the edge of a table or a frame covers
TOUCHING = 0.1  # share of a border that a corner of the table or a thumb covers
CLEAR = 0.3  # of the darkest ink: the strength of a clear stroke
NEIGHBOURS = np.ones((3, 3), bool)
NO_INK, SEVERAL = "no ink", "several"  # verdicts


class NotOneCharacter(ValueError):  # noqa: N818 (the name says what is wrong)
    """A picture does not show exactly one character: `verdict` is NO_INK or SEVERAL."""

    def __init__(self, verdict: str, text: str) -> None:
        super().__init__(text)
        self.verdict = verdict


def character_in(strength: Grey, grain: float) -> Mask:
    """Where the clear ink of a character is; ValueError if there is none.

    `strength`: how much darker than the paper each pixel is; `grain`: how much that varies.
    """
    threshold = max(6 * grain, MIN_CONTRAST)
    most, found = 0.0, np.zeros(strength.shape, bool)
    all_ink = strength[strength > threshold].sum()
    # The threshold that leaves the most ink wins: a low one may connect the character with the edge
    # of the table or of a shadow.
    for least in np.geomspace(threshold, max(threshold, strength.max() / 2), 4):
        parts = _parts(strength, least)
        if (ink := float(strength[parts].sum())) > most:
            most, found, threshold = ink, parts, float(least)
        if most > all_ink / 2:
            break
    if most == 0:
        raise NotOneCharacter(NO_INK, "no ink found")
    darkest = float(np.percentile(strength[found], 95))
    clear = _parts(strength, max(threshold, CLEAR * darkest))
    return clear if clear.any() else found


def fills(mask: Mask) -> bool:
    """Whether a character is cropped close to its ink: it is as long as the picture, and is not a
    line, or the edge of a table or a frame along a border.
    """
    marks = _without_lines(mask)
    along = sum(side.mean() > ALONG for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    if along > 1 or not marks.any():
        return False
    if along:  # a flat top, as of a 5, or an edge next to the character
        labels, _ = ndimage.label(marks, NEIGHBOURS)
        marks = labels == np.bincount(labels[marks]).argmax()
    box = box_of(marks)
    full = [
        part.stop - part.start >= FULL * side for part, side in zip(box, mask.shape, strict=True)
    ]
    return (all(full) if along else any(full)) and not _encloses(marks[box])


def _parts(strength: Grey, threshold: float) -> Mask:
    """The part of the ink that belongs to a character; empty if it would be too small."""
    mask = _without_lines(strength > threshold)
    labels, count = ndimage.label(mask, NEIGHBOURS)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = 0
    boxes = [(slice(0), slice(0)), *ndimage.find_objects(labels)]
    along = [n > 0 and _spans(box, mask.shape) for n, box in enumerate(boxes)]
    areas[along] = 0
    border = [labels[0], labels[-1], labels[:, 0], labels[:, -1]]
    contact = np.max([np.bincount(side, minlength=count + 1) / len(side) for side in border], 0)
    touching = contact > TOUCHING
    if areas[~touching].max(initial=0) > 0.05 * areas.max():  # else the character itself touches it
        areas[touching] = 0
    areas[areas <= max(2, 0.02 * areas.max())] = 0
    for n in np.flatnonzero(areas):
        part, ink = labels[boxes[n]], strength[boxes[n]]
        clear = ink > CLEAR * ink[part == n].max()
        inside = ndimage.binary_fill_holes(part == n) & (part != n) & clear
        if areas[part[inside]].any():  # a frame
            areas[n] = 0
    found: Mask = (areas > max(2, 0.02 * areas.max()))[labels]
    if not found.any() or max(found[box_of(found)].shape) < MIN_SIZE:
        return np.zeros_like(found)
    return found


def _without_lines(mask: Mask) -> Mask:
    return mask & ~_lines(mask) & ~_lines(mask.T).T


def _lines(mask: Mask) -> Mask:
    """Thin lines from the left border to the right one."""
    height, width = mask.shape
    if not (mask[:, 0].any() and mask[:, -1].any()):
        return np.zeros_like(mask)
    long = _opened(mask, max(3, width // 8), 1)
    thick = _opened(mask, max(2, height // 40), 0)
    labels, _ = ndimage.label(long, NEIGHBOURS)
    across = [
        n
        for n, (_, columns) in enumerate(ndimage.find_objects(labels), 1)
        if columns.stop - columns.start >= 0.9 * width
    ]
    lines: Mask = np.isin(labels, across) & ~thick
    return lines


def _opened(mask: Mask, length: int, axis: int) -> Mask:
    """The part of a mask that belongs to runs of at least this length along an axis."""
    eroded = ndimage.minimum_filter1d(mask.astype(np.uint8), length, axis)
    shift = 0 if length % 2 else -1  # of the window of even length, to cover the same pixels
    opened: Mask = ndimage.maximum_filter1d(eroded, length, axis, origin=shift) > 0
    return opened


def _spans(box: Box, shape: tuple[int, ...]) -> bool:
    """Whether a box extends along a border, from one end to the other."""
    return any(
        (part.start == 0 or part.stop == side) and part.stop - part.start >= 0.9 * side
        for part, side in zip(box, shape, strict=True)
    )


def one_mark(parts: Mask) -> Mask:
    """The parts that are close together; ValueError if they are not one character.

    A character may have several strokes, but not far apart, and not side by side and equally tall.
    """
    reach = max(parts[box_of(parts)].shape) // 4
    labels, count = ndimage.label(ndimage.maximum_filter(parts, 2 * (reach // 2) + 1))
    areas = np.bincount(labels[parts], minlength=count + 1)
    parts = parts & (areas >= 0.1 * areas.max())[labels]
    height = np.ptp(np.flatnonzero(parts.any(1))) + 1
    columns, runs = ndimage.label(ndimage.maximum_filter1d(parts.any(0), height // 16 + 1))
    groups = [parts[:, columns == n] for n in range(1, runs + 1)]
    most = max(part.sum() for part in groups)
    tall = sum(
        np.ptp(np.flatnonzero(part.any(1))) + 1 >= 0.75 * height and part.sum() >= 0.25 * most
        for part in groups
    )
    marks = max(int((areas >= 0.1 * areas.max()).sum()), tall)
    if marks > 1:
        raise NotOneCharacter(SEVERAL, f"no single character found: {marks} separate marks")
    return parts


def is_sheet(mask: Mask) -> bool:
    """Whether this is not a character but a sheet of paper with one on it.

    The holes in a sheet are strokes, whereas the counters of a D or a B are solid.
    """
    if not _encloses(mask):
        return False
    holes = ndimage.binary_fill_holes(mask) & ~mask
    labels, _ = ndimage.label(holes, NEIGHBOURS)
    largest = labels == np.bincount(labels[holes]).argmax()
    return bool(mask.mean() > PAPER or largest[box_of(largest)].mean() < SOLID)


def _encloses(mask: Mask) -> bool:
    """Whether this looks like a sheet or a frame with something in it, as a D does, too."""
    filled = ndimage.binary_fill_holes(mask)
    return bool(
        min(mask.shape) > SHEET
        and filled.mean() > 0.88
        and (filled & ~mask).sum() > 0.002 * mask.size
    )


def box_of(mask: Mask) -> Box:
    """The bounding box of a mask."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
