"""Tells the marks of a character from specks, lines, frames and the edge of a table."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.core.task import NO_INK, SEVERAL
from pipeline.pictures.paper import Grey

Mask = NDArray[np.bool_]
Box = tuple[slice, slice]
MIN_CONTRAST = 0.03  # of the paper's light
MIN_SIZE = 5  # pixels: of ink
SHEET = 40  # pixels: a smaller sheet has no character on it
SOLID = 0.7  # share of its box that a blot fills
BLOT = 0.6  # ratio of its sides
NEAR = 0.06  # share of a side: the distance from the border of a character that is cropped to it
THIN = 0.6  # share of its box that the inside of a frame covers
ALONG = 0.8  # share of a border that the edge of a table or a frame covers
TOUCHING = 0.1  # share of a border that a corner of the table or a thumb covers
CLEAR = 0.3  # of the darkest ink: the strength of a clear stroke
NEIGHBOURS = np.ones((3, 3), bool)


class NotOneCharacter(ValueError):  # noqa: N818 (the name says what is wrong)
    """A picture does not show exactly one character: `verdict` is NO_INK or SEVERAL."""

    def __init__(self, verdict: str, text: str) -> None:
        super().__init__(text)
        self.verdict = verdict


def character_in(ink: Grey, grain: float) -> tuple[Mask, Mask]:
    """Where the clear ink of a character is, and where that of other marks is.

    `ink`: how much of the paper's light is absorbed; `grain`: how much that varies on clean paper.
    NotOneCharacter if there is no ink.
    """
    threshold = max(6 * grain, MIN_CONTRAST)
    found = _parts(ink, threshold)
    if not found.any():
        faint = _parts(ink, max(6 * grain, MIN_CONTRAST / 4)).any()
        reason = "no ink found: its contrast with the paper is too low" if faint else "no ink found"
        raise NotOneCharacter(NO_INK, reason)
    darkest = float(np.percentile(ink[found], 95))
    clear = _parts(ink, max(threshold, CLEAR * darkest))
    if clear.any():
        threshold, found = max(threshold, CLEAR * darkest), clear
    return found, (ink > threshold) & ~found


def fills(mask: Mask) -> bool:
    """Whether a character is cropped to its ink: it extends from border to border, and is not a
    line, or the edge of a table or a frame along a border.
    """
    labels, _ = ndimage.label(_without_lines(mask), NEIGHBOURS)
    along = sum(side.mean() > ALONG for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    if along > 1 or not labels.any():
        return False
    mark = labels == np.bincount(labels[labels > 0]).argmax()
    box = box_of(mark)
    full = [
        part.start <= NEAR * side and part.stop >= (1 - NEAR) * side
        for part, side in zip(box, mask.shape, strict=True)
    ]
    # a flat top, as of a 5, or an edge next to the character
    return (all(full) if along else any(full)) and not _encloses(mark[box])


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
        part = labels[boxes[n]]
        filled = _filled(part == n, boxes[n], mask.shape)
        others = filled & (part != n)
        if areas[part[others]].any() or _is_frame(filled, others):
            areas[n] = 0
    found: Mask = (areas > max(2, 0.02 * areas.max()))[labels]
    if not found.any() or max(found[box_of(found)].shape) < MIN_SIZE:
        return np.zeros_like(found)
    return found


def _filled(part: Mask, box: Box, shape: tuple[int, ...]) -> Mask:
    """A component with its holes filled; the border of the picture closes an open one."""
    closed = part.copy()
    for axis, (span, side) in enumerate(zip(box, shape, strict=True)):
        along = np.moveaxis(closed, axis, 0)
        along[0] |= span.start == 0
        along[-1] |= span.stop == side
    filled: Mask = ndimage.binary_fill_holes(closed)
    return filled


def _is_frame(filled: Mask, hole: Mask) -> bool:
    """Whether a component is a thin outline with four corners."""
    height, width = (max(1, side // 8) for side in filled.shape)
    corners = [filled[rows, columns].mean() for rows in (slice(height), slice(-height, None))
               for columns in (slice(width), slice(-width, None))]  # fmt: skip
    return bool(hole.mean() > THIN and min(corners) > 0.5)


def _without_lines(mask: Mask) -> Mask:
    return mask & ~_lines(mask) & ~_lines(mask.T).T


def _lines(mask: Mask) -> Mask:
    """Thin lines from the left border to the right one, except where strokes cross them."""
    height, width = mask.shape
    if not (mask[:, 0].any() and mask[:, -1].any()):
        return np.zeros_like(mask)
    labels, _ = ndimage.label(_opened(mask, max(3, width // 12), 1), NEIGHBOURS)
    lines = np.zeros_like(mask)
    for n, (_, columns) in enumerate(ndimage.find_objects(labels), 1):
        if columns.stop - columns.start < 0.9 * width:
            continue
        line = labels == n
        thickness = float(np.median(line.sum(0)))
        if thickness <= max(2, height / 20):
            lines |= line & ~_opened(mask, round(2 * thickness) + 1, 0)
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
    heights = [np.ptp(np.flatnonzero(part.any(1))) + 1 for part in groups]
    tall = sum(
        height >= 0.75 * max(heights) and part.sum() >= 0.25 * most
        for height, part in zip(heights, groups, strict=True)
    )
    box = parts[box_of(parts)]
    if box.mean() > SOLID and min(box.shape) > BLOT * max(box.shape):
        raise NotOneCharacter(NO_INK, "no ink found, except for a blot")
    marks = max(int((areas >= 0.1 * areas.max()).sum()), tall)
    if marks > 1:
        raise NotOneCharacter(SEVERAL, f"no single character found: {marks} separate marks")
    return parts


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
