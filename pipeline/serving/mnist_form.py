"""Pictures of one digit in the form that MNIST has: the ink is found, and scaled and centred.

Paper is seldom even: it lies in the shade, on a table, has lines, dust and grain. What counts as
ink is therefore judged against the paper around it, and what is not a digit's is left out.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pipeline.serving.pictures import Picture

Images = NDArray[np.uint8]
Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]
SIDE, INK = 28, 20  # pixels: of an image, and of the box that MNIST scales the ink to
WORKING = 400  # pixels: the longer side of the copy on which ink is looked for
SHARP = 2 * INK  # pixels: a smaller box of ink is looked at again, closer
LEAST_CONTRAST = 6  # of 255
LEAST_SIZE = 5  # pixels: of ink
FAINT = 32 / 255  # of the darkest ink: the antialiased edge of a stroke
CLEAR = 0.3  # of it: a stroke
NEIGHBOURS = np.ones((3, 3), bool)


def to_mnist_form(picture: Picture) -> Images:
    """A picture [H, W] as MNIST was made, [28, 28]: light ink on black, scaled to fit 20 x 20, its
    centre of mass at (14, 14). ValueError if it has no ink, or that of several digits.
    """
    return _centred(_scaled(_ink(np.asarray(picture, np.float32))))


def _ink(grey: Grey) -> Grey:
    """The ink of a digit, cut out: from 0, where there is none, to 255."""
    factor = -(-max(grey.shape) // WORKING)
    small = np.asarray(Image.fromarray(grey).reduce(factor)) if factor > 1 else grey
    if small.shape[1] > 1 and np.median(np.abs(np.diff(small, axis=1))) > 1:
        small = ndimage.gaussian_filter(small, 1)  # grain
    light, is_dark = _light(small)
    if is_dark:
        small, light = 255 - small, 255 - light
    paper, grain = _paper(small, light)
    strength = paper - small
    parts = _digit(strength, grain)
    box = _box(parts)
    if factor > 1 and max(parts[box].shape) < SHARP:
        return _ink(_closer(grey, box, factor, 1))
    parts = _one_mark(parts)
    edge = max(2, max(parts.shape) // 100)
    mask = ndimage.binary_dilation(parts, NEIGHBOURS, edge) & (strength > grain)
    clear = mask & (strength > FAINT * strength[mask].max())
    box = _box(clear)
    if _is_sheet(clear[box]):
        return _ink(_closer(grey, box, factor, -1 / 16))
    cut: Grey = np.where(mask, strength / np.maximum(paper, 1), 0)[box]
    cut *= 255 / cut.max()
    return cut


def _light(grey: Grey) -> tuple[Grey, bool]:
    """The light on the paper, and whether that is darker than the ink.

    It is a surface of second order through most of the pixels; the others are ink.
    """
    factor = max(1, min(grey.shape) // SIDE)
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
    if inner.mean() < 0.6:  # as much ink as paper, which is then in the corners
        level = np.median(small[[0, 0, -1, -1], [0, -1, 0, -1]])
        return np.full_like(grey, level), bool(((values - level) ** 3).sum() > 0)
    y, x = (np.arange(length) / max(grey.shape) - 0.5 for length in grey.shape)
    y = y[:, None]
    one, down, down2, right, right2, both = factors
    light = (one + down * y + down2 * y**2) + (right * x + right2 * x**2) + both * y * x
    return light.astype(np.float32), bool((rest**3).sum() > 0)


def _paper(grey: Grey, light: Grey) -> tuple[Grey, float]:
    """How light the paper is at each pixel, also beneath dark ink, and how much it varies."""
    width = max(3, min(grey.shape) // 2) | 1
    paper = light + ndimage.grey_closing(grey - light, (width, width))
    depth = paper - grey
    low, middle = np.percentile(depth, [5, 30])  # of a normal distribution; ink is above them
    grain = float(middle - low) / 1.12
    return paper - (middle + 0.52 * grain), grain


def _digit(strength: Grey, grain: float) -> Mask:
    """Where the ink of the digit is: neither the table's edge, nor lines, nor specks."""
    threshold = max(6 * grain, LEAST_CONTRAST)
    darkest = float(np.percentile(strength[_parts(strength, threshold)], 95))
    return _parts(strength, max(threshold, CLEAR * darkest))


def _parts(strength: Grey, threshold: float) -> Mask:
    """What of the ink is the digit's; ValueError if nothing is."""
    mask = strength > threshold
    mask = mask & ~_lines(mask) & ~_lines(mask.T).T
    labels, count = ndimage.label(mask, NEIGHBOURS)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = 0
    boxes = [(slice(0), slice(0)), *ndimage.find_objects(labels)]
    along = [n > 0 and _spans(box, mask.shape) for n, box in enumerate(boxes)]
    if not (sum(areas > 0) == 1 and _fills(mask)):
        areas[along] = 0
    areas[areas <= max(2, 0.02 * areas.max())] = 0
    for n in np.flatnonzero(areas):
        part, ink = labels[boxes[n]], strength[boxes[n]]
        clear = ink > CLEAR * ink[part == n].max()
        inside = ndimage.binary_fill_holes(part == n) & (part != n) & clear
        if areas[part[inside]].any():  # a frame
            areas[n] = 0
    found: Mask = (areas > max(2, 0.02 * areas.max()))[labels]
    if not found.any() or max(found[_box(found)].shape) < LEAST_SIZE:
        raise ValueError("no ink found")
    return found


def _lines(mask: Mask) -> Mask:
    """Thin lines from the left border to the right one."""
    height, width = mask.shape
    if not (mask[:, 0].any() and mask[:, -1].any()):
        return np.zeros_like(mask)
    long = _opened(mask, max(3, width // 8), 1)
    thick = _opened(mask, max(4, height // 40), 0)
    labels, _ = ndimage.label(long, NEIGHBOURS)
    across = [
        n
        for n, (_, columns) in enumerate(ndimage.find_objects(labels), 1)
        if columns.stop - columns.start >= 0.9 * width
    ]
    lines: Mask = np.isin(labels, across) & ~thick
    return lines


def _opened(mask: Mask, length: int, axis: int) -> Mask:
    """What of a mask belongs to runs of at least this length along an axis."""
    eroded = ndimage.minimum_filter1d(mask.astype(np.uint8), length, axis)
    shift = 0 if length % 2 else -1  # of the window of even length, to cover the same pixels
    opened: Mask = ndimage.maximum_filter1d(eroded, length, axis, origin=shift) > 0
    return opened


def _spans(box: tuple[slice, slice], shape: tuple[int, ...]) -> bool:
    """Whether something lies along a border, from one end to the other."""
    return any(
        (part.start == 0 or part.stop == side) and part.stop - part.start >= 0.9 * side
        for part, side in zip(box, shape, strict=True)
    )


def _fills(mask: Mask) -> bool:
    """Whether a digit was cut out without a margin: it is as large as that, and no frame."""
    large = all(
        part.stop - part.start >= 0.85 * side
        for part, side in zip(_box(mask), mask.shape, strict=True)
    )
    sides = [mask[0], mask[-1], mask[:, 0], mask[:, -1]]
    return large and sum(side.mean() > 0.8 for side in sides) <= 1


def _one_mark(parts: Mask) -> Mask:
    """The parts that lie close together; ValueError if they are not those of one digit.

    A digit may be of several strokes, but neither far from each other nor as tall side by side.
    """
    reach = max(parts[_box(parts)].shape) // 4
    labels, count = ndimage.label(ndimage.maximum_filter(parts, 2 * (reach // 2) + 1))
    areas = np.bincount(labels[parts], minlength=count + 1)
    parts = parts & (areas >= 0.1 * areas.max())[labels]
    columns, runs = ndimage.label(parts.any(0))
    height = np.ptp(np.flatnonzero(parts.any(1))) + 1
    tall = sum(
        np.ptp(np.flatnonzero(parts[:, columns == n].any(1))) + 1 >= 0.75 * height
        for n in range(1, runs + 1)
    )
    marks = max(int((areas >= 0.1 * areas.max()).sum()), tall)
    if marks > 1:
        raise ValueError(f"no single digit found: {marks} separate marks")
    return parts


def _is_sheet(mask: Mask) -> bool:
    """Whether this is no digit but a sheet of paper with one on it."""
    filled = ndimage.binary_fill_holes(mask)
    return bool(
        min(mask.shape) > SHARP
        and filled.mean() > 0.88
        and (filled & ~mask).sum() > 0.002 * mask.size
    )


def _box(mask: Mask) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _closer(grey: Grey, box: tuple[slice, slice], factor: int, margin: float) -> Grey:
    """The part of a picture that a box on its copy shows, with a margin, in sizes of the box."""
    width = round(margin * max(part.stop - part.start for part in box))
    rows, columns = (
        slice(max(0, part.start - width) * factor, (part.stop + width) * factor) for part in box
    )
    return grey[rows, columns]


def _scaled(ink: Grey) -> Images:
    """Ink scaled to fit a box of 20 x 20, as dark as before."""
    scale = INK / max(ink.shape)
    height, width = (max(1, round(length * scale)) for length in ink.shape)
    small = np.asarray(
        Image.fromarray(np.rint(ink).astype(np.uint8)).resize(
            (width, height), Image.Resampling.LANCZOS
        ),
        np.float32,
    )
    if not small.any():
        raise ValueError("no ink found")
    stretched: Images = np.rint(small * (255 / small.max())).astype(np.uint8)
    return stretched


def _centred(ink: Images) -> Images:
    """Ink on a black image [28, 28], its centre of mass in the middle as far as it has room."""
    result = np.zeros((SIDE, SIDE), np.uint8)
    top, left = (
        int(np.clip(round(SIDE / 2 - middle), 0, SIDE - length))
        for middle, length in zip(ndimage.center_of_mass(ink), ink.shape, strict=True)
    )
    result[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return result
