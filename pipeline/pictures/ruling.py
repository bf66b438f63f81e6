"""Removes the lines of ruled paper, but not the strokes that cross them."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
SLOPES = np.tan(np.radians(np.arange(-3, 3.1, 0.25)))
COVERED = 0.8  # share of the picture's side that a line covers
THICKEST = 1 / 20  # of a line, as a share of the other side
COLUMNS = 50  # that are looked at


def without_ruling(mask: Mask) -> Mask:
    """Ink, [H, W], without straight lines that cross the picture from border to border."""
    across, thickness = _lines(mask)
    down, width = _lines(mask.T)
    crossing = _opened(mask & ~down.T, 2 * thickness + 1, 0)
    crossing_down = _opened(mask & ~across, 2 * width + 1, 1)
    return mask & ~(across & ~crossing) & ~(down.T & ~crossing_down)


def _lines(mask: Mask) -> tuple[Mask, int]:
    """Lines from left to right, with the pixels of strokes on them, and their thickness in pixels.

    The slope is the one at which the most rows are covered.
    """
    height, width = mask.shape
    step = max(1, width // COLUMNS)
    if not (mask[:, : step + 1].any() and mask[:, -step - 1 :].any()):
        return np.zeros_like(mask), 1
    columns = np.arange(step // 2, width, step)
    best, slope = np.zeros(height), 0.0
    for tried in SLOPES:
        sheared = mask[_rows(mask.shape, tried, columns), columns]
        at_border = sheared[:, :2].any(1) | sheared[:, -2:].any(1)
        coverage = sheared.mean(1) * at_border
        if (coverage >= COVERED).sum() > (best >= COVERED).sum():
            best, slope = coverage, tried
    labels, _ = ndimage.label(best >= COVERED)
    thickness = np.bincount(labels)
    thin = (labels > 0) & (thickness[labels] <= THICKEST * height)
    if not thin.any():
        return np.zeros_like(mask), 1
    near = ndimage.maximum_filter1d(thin, 3)
    lines: Mask = mask & near[_rows(mask.shape, -slope, np.arange(width))]
    return lines, int(thickness[labels[thin]].max()) + 1


def _rows(shape: tuple[int, ...], slope: float, columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of each pixel, [H, columns], after the picture is sheared around its middle."""
    height, width = shape
    shifts = np.rint(slope * (columns - width / 2)).astype(int)
    rows: NDArray[np.int64] = np.clip(np.arange(height)[:, None] + shifts, 0, height - 1)
    return rows


def _opened(mask: Mask, length: int, axis: int) -> Mask:
    """The part of a mask that belongs to runs of at least this length along an axis."""
    eroded = ndimage.minimum_filter1d(mask.astype(np.uint8), length, axis)
    opened: Mask = ndimage.maximum_filter1d(eroded, length, axis) > 0
    return opened
