"""Tells the marks of a character from specks, frames and the edge of a table."""

import numpy as np
from scipy import ndimage

from pipeline.core.task import NO_INK, SEVERAL
from pipeline.pictures.paper import Grey
from pipeline.pictures.ruling import Mask, without_ruling

Box = tuple[slice, slice]
CERTAIN = 6  # times the grain: what is darker is ink
CLEARLY = 1.5  # times that: how dark the darkest ink is
LARGEST = 0.25  # share of the ink that the largest stroke has
MIN_SIZE = 5  # pixels: of ink
SOLID = 0.75  # share of its box that a blot fills
BLOT = 0.6  # ratio of its sides
FLAT = 0.2  # ratio of height to width: no character is flatter
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
    most, found = 0.0, np.zeros(ink.shape, bool)
    all_ink = ink[ink > threshold].sum()
    # The threshold that leaves the most ink wins: at a low one, a frame may touch the character.
    for least in np.geomspace(threshold, max(threshold, ink.max() / 2), 4):
        parts = _parts(ink, least)
        if (left := float(ink[parts].sum())) > most:
            most, found, threshold = left, parts, float(least)
        if most > all_ink / 2:
            break
    darkest = float(np.percentile(ink[found], 95)) if most else 0.0
    if darkest < CLEARLY * CERTAIN * grain:
        faint = _parts(ink, CERTAIN / 2 * grain).any()
        reason = "no ink found: its contrast with the paper is too low" if faint else "no ink found"
        raise NotOneCharacter(NO_INK, reason)
    threshold = max(threshold, CLEAR * darkest)
    clear = _parts(ink, threshold)
    if not clear.any():
        raise NotOneCharacter(NO_INK, "no ink found")
    return clear, (ink > threshold) & ~clear


def fills(mask: Mask) -> bool:
    """Whether a character is cropped to its ink: it extends from border to border, and is not a
    line, or the edge of a table or a frame along a border.
    """
    labels, _ = ndimage.label(without_ruling(mask), NEIGHBOURS)
    along = sum(side.mean() > ALONG for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    if along > 1 or not labels.any():
        return False
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    mark = (areas >= 0.25 * areas.max())[labels]
    box = box_of(mark)
    shares = [(part.stop - part.start) / side for part, side in zip(box, mask.shape, strict=True)]
    narrow = int(np.argmin(shares))
    at_border = box[narrow].start == 0 or box[narrow].stop == mask.shape[narrow]
    if shares[narrow] < 0.5 and at_border:  # it lies along the border
        return False
    boxes = ndimage.find_objects(labels)
    for n in np.flatnonzero(areas >= 0.25 * areas.max()):
        around = boxes[n - 1]
        part = labels[around] == n
        if part.mean() < OUTLINE and _is_frame(part, _filled(part, around, mask.shape)):
            return False
    share = min(shares) if along else max(shares)  # along: a flat top, as of a 5
    return bool(share >= FULL)


def _parts(strength: Grey, threshold: float) -> Mask:
    """The part of the ink that belongs to a character; empty if it would be too small."""
    mask = without_ruling(strength > threshold)
    labels, count = ndimage.label(mask, NEIGHBOURS)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = 0
    boxes = [(slice(0), slice(0)), *ndimage.find_objects(labels)]
    along = [n > 0 and _spans(box, mask.shape) for n, box in enumerate(boxes)]
    areas[along] = 0
    border = [labels[0], labels[-1], labels[:, 0], labels[:, -1]]
    contact = np.max([np.bincount(side, minlength=count + 1) / len(side) for side in border], 0)
    touching = contact > TOUCHING
    if areas[~touching].max(initial=0) > 0.2 * areas.max():  # else the character itself touches it
        areas[touching] = 0
    areas[areas <= max(2, 0.02 * areas.max())] = 0
    for n in np.flatnonzero(areas):
        part = labels[boxes[n]]
        filled = _filled(part == n, boxes[n], mask.shape)
        enclosed = np.unique(part[filled & (part != n)])
        if areas[enclosed].sum() > 0.1 * areas[n] or _is_frame(part == n, filled):
            areas[n] = 0
    found: Mask = (areas > max(2, 0.02 * areas.max()))[labels]
    scattered = areas.max(initial=0) < LARGEST * areas.sum()
    if not found.any() or scattered or max(found[box_of(found)].shape) < MIN_SIZE:
        return np.zeros_like(found)
    return found


def _filled(part: Mask, box: Box, shape: tuple[int, ...]) -> Mask:
    """A component with its holes filled; the border of the picture closes an open one."""
    closed = part.copy()
    for axis, (span, side) in enumerate(zip(box, shape, strict=True)):
        along = np.moveaxis(closed, axis, 0)
        along[0] |= span.start <= 2
        along[-1] |= span.stop >= side - 2
    filled: Mask = ndimage.binary_fill_holes(closed)
    return filled


def _is_frame(part: Mask, filled: Mask) -> bool:
    """Whether a component, with its holes filled, is a thin outline with four corners."""
    height, width = (max(1, side // 8) for side in filled.shape)
    corners = [
        filled[rows, columns].mean()
        for rows in (slice(height), slice(-height, None))
        for columns in (slice(width), slice(-width, None))
    ]
    return bool((filled & ~part).mean() > THIN and min(corners) > 0.5)


def _spans(box: Box, shape: tuple[int, ...]) -> bool:
    """Whether a box extends along a border, from one end to the other."""
    return any(
        (part.start == 0 or part.stop == side) and part.stop - part.start >= 0.9 * side
        for part, side in zip(box, shape, strict=True)
    )


def one_mark(parts: Mask) -> Mask:
    """The parts that are close together; NotOneCharacter if they are several, or a blot.

    A character may have several strokes, but not far apart, and not side by side and equally tall.
    """
    reach = max(parts[box_of(parts)].shape) // 4
    labels, count = ndimage.label(ndimage.maximum_filter(parts, 2 * (reach // 2) + 1))
    areas = np.bincount(labels[parts], minlength=count + 1)
    parts = parts & (areas >= 0.1 * areas.max())[labels]
    height = int(np.ptp(np.flatnonzero(parts.any(1)))) + 1
    tall = max(
        _side_by_side(parts, height // 16 + 1, 0.75), _side_by_side(parts, height // 4 + 1, 0.5)
    )
    box = parts[box_of(parts)]
    if box.mean() > SOLID and min(box.shape) > BLOT * max(box.shape):
        raise NotOneCharacter(NO_INK, "no ink found, except for a blot")
    if box.shape[0] < FLAT * box.shape[1]:
        raise NotOneCharacter(NO_INK, "no ink found, except for a line")
    marks = max(int((areas >= 0.1 * areas.max()).sum()), tall)
    if marks > 1:
        raise NotOneCharacter(SEVERAL, f"no single character found: {marks} separate marks")
    return parts


def _side_by_side(parts: Mask, gap: int, overlap: float) -> int:
    """How many groups of strokes are about as tall as the tallest, with gaps between them."""
    columns, runs = ndimage.label(ndimage.maximum_filter1d(parts.any(0), gap))
    groups = [parts[:, columns == n] for n in range(1, runs + 1)]
    most = max(part.sum() for part in groups)
    rows = [np.flatnonzero(part.any(1))[[0, -1]] for part in groups]
    top, bottom = max(rows, key=np.ptp)
    return sum(
        min(last, bottom) - max(first, top) + 1 >= overlap * (bottom - top + 1)
        and part.sum() >= 0.25 * most
        for (first, last), part in zip(rows, groups, strict=True)
    )


def box_of(mask: Mask) -> Box:
    """The bounding box of a mask."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
