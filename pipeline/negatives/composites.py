"""Images of the classes, changed until they show none: several at once, parts, mirrored, inverted.

Each function takes images [N, H, W], from which it draws.
"""

from itertools import pairwise

import numpy as np
from PIL import Image

from pipeline.core.task import ImageForm
from pipeline.negatives.form import Ink, cropped

Images = Ink  # [N, H, W]


def side_by_side(images: Images, random: np.random.Generator) -> Ink:
    """Two or three images in a rough row of any direction: they overlap, touch or are apart."""
    parts = [
        cropped(images[n]) for n in random.integers(len(images), size=random.choice([2, 2, 3]))
    ]
    angle = random.choice([0, np.pi / 2, random.uniform(0, np.pi)], p=[0.4, 0.2, 0.4])
    along, across = np.array([[np.sin(angle), np.cos(angle)], [np.cos(angle), -np.sin(angle)]])
    middle, middles = np.zeros(2), [np.zeros(2)]
    for first, second in pairwise(parts):
        sides = np.add(first.shape, second.shape) / 2
        touching = (sides / np.maximum(abs(along), 1e-9)).min()
        middle = middle + max(7, touching + random.integers(-7, 9)) * along
        middles.append(middle + random.uniform(-5, 5) * across)
    corners = np.rint([at - np.divide(p.shape, 2) for at, p in zip(middles, parts, strict=True)])
    corners = (corners - corners.min(0)).astype(int)
    canvas = np.zeros(np.max(corners + [part.shape for part in parts], axis=0), np.uint8)
    for (top, left), part in zip(corners, parts, strict=True):
        place = canvas[top : top + part.shape[0], left : left + part.shape[1]]
        np.maximum(place, part, out=place)
    return canvas


def overlaid(images: Images, random: np.random.Generator) -> Ink:
    """Two images, the second moved in any direction: they overlap a little, or not at all."""
    first, second = (cropped(images[n]) for n in random.integers(len(images), size=2))
    angle = random.uniform(0, 2 * np.pi)
    reach = max(*first.shape, *second.shape) * random.uniform(0.7, 1.1)
    down, right = round(reach * np.sin(angle)), round(reach * np.cos(angle))
    middle = 2 * max(*first.shape, *second.shape)
    canvas = np.zeros((2 * middle, 2 * middle), np.uint8)
    for part, y, x in ((first, 0, 0), (second, down, right)):
        top, left = middle + y - part.shape[0] // 2, middle + x - part.shape[1] // 2
        place = canvas[top : top + part.shape[0], left : left + part.shape[1]]
        np.maximum(place, part, out=place)
    return canvas


def close_up(images: Images, form: ImageForm, random: np.random.Generator) -> Ink:
    """A part of an image, enlarged to the whole form, with ink up to the border."""
    ink = cropped(_one_of(images, random))
    side = max(ink.shape) / random.uniform(1.5, 2.5)
    top, left = (random.uniform(0, max(1, length - side)) for length in ink.shape)
    part = Image.fromarray(ink).transform(
        (form.width, form.height),
        Image.Transform.EXTENT,
        (left, top, left + side, top + side),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(part)


def cut_off(images: Images, random: np.random.Generator) -> Ink:
    """An image moved so far that about half of its ink is beyond the border."""
    image = _one_of(images, random)
    axis, away = random.integers(2), random.choice([-1, 1])
    mass = np.cumsum(image.sum(1 - axis, dtype=float)[::away])
    lost = int(np.searchsorted(mass, mass[-1] * random.uniform(0.35, 0.6)))
    cut = np.zeros_like(image)
    source, target = np.moveaxis(image, axis, 0)[::away], np.moveaxis(cut, axis, 0)[::away]
    target[: len(source) - lost] = source[lost:]
    return cut


def mirrored(images: Images, random: np.random.Generator) -> Ink:
    """An image, with left and right exchanged."""
    return _one_of(images, random)[:, ::-1]


def inverted(images: Images, random: np.random.Generator) -> Ink:
    """Dark ink on a light background."""
    return 255 - _one_of(images, random)


def _one_of(images: Images, random: np.random.Generator) -> Ink:
    image: Ink = images[random.integers(len(images))]
    return image
