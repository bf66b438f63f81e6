"""Tells the marks of a character from specks, lines, frames and the edge of a table."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.core.task import NO_INK, SEVERAL
from pipeline.pictures.paper import Grey

Mask = NDArray[np.bool_]
Box = tuple[slice, slice]
CERTAIN = 6  # times the grain: what is darker is ink
MIN_SIZE = 5  # pixels: of ink
SOLID = 0.7  # share of its box that a blot fills
BLOT = 0.6  # ratio of its sides
OUTLINE = 0.12  # share of its box that the outline of a frame covers
FULL = 0.85  # share of a side that a character fills if it is cropped close to its ink
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
    threshold = CERTAIN * grain
    found = _parts(ink, threshold)
    if not found.any():
        faint = _parts(ink, threshold / 2).any()
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
    shares = [(part.stop - part.start) / side for part, side in zip(box, mask.shape, strict=True)]
    if min(shares) < 0.5 and _spans(box, mask.shape):  # lies along the border
        return False
    if mark[box].mean() < OUTLINE or _is_frame(mark[box]):
        return False
    return (min if along else max)(shares) >= FULL  # along: a flat top, as of a 5


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
        enclosed = np.unique(part[filled & (part != n)])
        if areas[enclosed].sum() > 0.1 * areas[n] or _is_frame(part == n):
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


def _is_frame(part: Mask) -> bool:
    """Whether a component is a thin outline with four corners."""
    filled = ndimage.binary_fill_holes(part)
    height, width = (max(1, side // 8) for side in filled.shape)
    corners = [
        filled[rows, columns].mean()
        for rows in (slice(height), slice(-height, None))
        for columns in (slice(width), slice(-width, None))
    ]
    return bool((filled & ~part).mean() > THIN and min(corners) > 0.5)


def _without_lines(mask: Mask) -> Mask:
    across, down = _lines(mask), _lines(mask.T).T
    return mask & ~_thin(across, mask & ~down) & ~_thin(down.T, (mask & ~across).T).T


def _lines(mask: Mask) -> Mask:
    """Lines from the left border to the right one, with the strokes that touch them."""
    width = mask.shape[1]
    if not (mask[:, 0].any() and mask[:, -1].any()):
        return np.zeros_like(mask)
    length = max(3, width // 16)
    long = ndimage.maximum_filter(_opened(mask, length, 1), (3, length))
    labels, _ = ndimage.label(long, NEIGHBOURS)
    across = [
        n
        for n, (_, columns) in enumerate(ndimage.find_objects(labels), 1)
        if columns.stop - columns.start >= 0.9 * width
    ]
    lines: Mask = mask & np.isin(labels, across)
    return lines


def _thin(lines: Mask, mask: Mask) -> Mask:
    """The part of lines across a mask that is as thin as a line, not a stroke that crosses it."""
    found = np.zeros_like(lines)
    labels, count = ndimage.label(lines, NEIGHBOURS)
    for n in range(1, count + 1):
        line = labels == n
        thickness = float(np.median(line.sum(0)[line.any(0)]))
        if thickness <= max(2, len(lines) / 20):
            found |= line & ~_opened(mask, round(2 * thickness) + 1, 0)
    return found


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


def box_of(mask: Mask) -> Box:
    """The bounding box of a mask."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
