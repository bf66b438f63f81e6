"""Drawings that show nothing: scribbles, shapes, noise."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from pipeline.core.task import ImageForm
from pipeline.negatives.form import Ink

CANVAS = 96  # pixels
MARGIN = 12


def scribble(random: np.random.Generator) -> Ink:
    """A smooth or angular line through many random points, in one to three strokes."""
    strokes = []
    for _ in range(random.integers(1, 4)):
        points = random.uniform(MARGIN, CANVAS - MARGIN, (random.integers(6, 13), 2))
        strokes.append(_smooth(points) if random.random() < 0.7 else points)
    return _drawn(strokes, random)


def shape(random: np.random.Generator) -> Ink:
    """An outline or a filled polygon, a grid, parallel lines, dots, or rings."""
    picture = Image.new("L", (CANVAS, CANVAS))
    draw = ImageDraw.Draw(picture)
    pen, middle = int(random.integers(5, 14)), CANVAS / 2
    kind = random.integers(6)
    if kind == 0:  # a polygon of straight sides
        radius, sides = random.uniform(20, 40), int(random.integers(3, 5))
        angle, filled = random.uniform(0, 360), random.random() < 0.5
        draw.regular_polygon((middle, middle, radius), sides, angle, 255 if filled else 0, 255, pen)
    elif kind == 1:  # a filled disc
        high, wide = random.uniform(25, 42, 2)
        draw.ellipse((middle - wide, middle - high, middle + wide, middle + high), 255)
    elif kind == 2:  # a grid or parallel lines
        for place in np.linspace(MARGIN, CANVAS - MARGIN, random.integers(2, 6)):
            draw.line((place, MARGIN, place, CANVAS - MARGIN), 255, pen)
            if random.random() < 0.7:
                draw.line((MARGIN, place, CANVAS - MARGIN, place), 255, pen)
    elif kind == 3:  # dots
        for x, y in random.uniform(MARGIN, CANVAS - MARGIN, (random.integers(3, 12), 2)):
            draw.ellipse((x - pen, y - pen, x + pen, y + pen), 255)
    elif kind == 4:  # rays from a point
        for angle in random.uniform(0, 2 * np.pi, random.integers(4, 9)):
            end = middle + 38 * np.array([np.cos(angle), np.sin(angle)])
            draw.line((middle, middle, *end), 255, pen)
    else:  # a box that is filled or empty
        x, y = random.uniform(20, 40, 2)
        box = (middle - x, middle - y, middle + x, middle + y)
        draw.rectangle(box, 255 if random.random() < 0.5 else 0, 255, pen)
    return np.asarray(picture.rotate(random.uniform(-20, 20), Image.Resampling.BILINEAR))


def loops(random: np.random.Generator) -> Ink:
    """A curve whose coordinates are sums of sines: many loops, and no corners."""
    time = np.linspace(0, 1, 160)[:, None]
    frequencies = random.uniform(2, 5, (2, 1, 3))
    phases, sizes = random.uniform(0, 2 * np.pi, (2, 1, 3)), random.uniform(0.3, 1, (2, 1, 3))
    curve = (sizes * np.sin(2 * np.pi * frequencies * time + phases)).sum(2)
    span = np.ptp(curve, axis=1, keepdims=True)
    points = (curve - curve.min(1, keepdims=True)) / span * (CANVAS - 2 * MARGIN) + MARGIN
    return _drawn([points.T], random)


def noise(form: ImageForm, random: np.random.Generator) -> Ink:
    """Gaussian noise of random strength, grain and brightness; or only its peaks, on black."""
    grain = random.normal(size=form.shape)
    if (blur := random.uniform(0, 2)) > 0.5:
        grain = ndimage.gaussian_filter(grain, blur)
    if random.random() < 0.4:
        peaks = grain - np.quantile(grain, random.uniform(0.5, 0.97))
        return _as_pixels(peaks * random.uniform(300, 2000) / peaks.max())
    grain *= random.uniform(20, 120) / grain.std()
    return _as_pixels(grain + random.uniform(0, 160))


def speckle(form: ImageForm, random: np.random.Generator) -> Ink:
    """Light blocks on a dark background, or the other way round: a share of all pixels."""
    side = int(random.integers(1, 5))
    rows, columns = (-(-length // side) for length in form.shape)
    blocks = random.random((rows, columns)) < random.uniform(0.1, 0.9)
    levels = random.uniform(100, 255, blocks.shape) if random.random() < 0.5 else 255
    return _as_pixels(np.kron(blocks * levels, np.ones((side, side)))[: form.height, : form.width])


def blank(form: ImageForm, random: np.random.Generator) -> Ink:
    """One grey level, without or with weak noise."""
    level = random.choice([0.0, random.uniform(0, 255)])
    return _as_pixels(random.normal(level, random.choice([0, random.uniform(0, 8)]), form.shape))


def gradient(form: ImageForm, random: np.random.Generator) -> Ink:
    """A level that changes evenly from one side to the other."""
    y, x = np.linspace(-1, 1, form.height)[:, None], np.linspace(-1, 1, form.width)
    down, across = random.uniform(-60, 60, 2) * random.choice([0, 1])
    return _as_pixels(random.uniform(0, 255) + down * y + across * x)


def _drawn(strokes: list[NDArray[np.float64]], random: np.random.Generator) -> Ink:
    picture = Image.new("L", (CANVAS, CANVAS))
    draw, pen = ImageDraw.Draw(picture), int(random.integers(5, 13))
    for points in strokes:
        draw.line([tuple(point) for point in points], 255, pen, joint="curve")
    return np.asarray(picture.resize((CANVAS // 2, CANVAS // 2), Image.Resampling.BOX))


def _smooth(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A quadratic curve near the points, which starts and ends at the middle of two of them."""
    middles = (points[1:] + points[:-1]) / 2
    time = np.linspace(0, 1, 8)[:, None, None]
    start, control, end = middles[:-1], points[1:-1], middles[1:]
    curve = (1 - time) ** 2 * start + 2 * time * (1 - time) * control + time**2 * end
    smooth: NDArray[np.float64] = curve.swapaxes(0, 1).reshape(-1, 2)
    return smooth


def _as_pixels(values: NDArray[np.float64]) -> Ink:
    pixels: Ink = np.rint(values.clip(0, 255)).astype(np.uint8)
    return pixels
