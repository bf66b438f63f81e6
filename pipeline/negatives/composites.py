"""Images of the classes, changed until they show none: several at once, parts, mirrored, inverted.

Each function takes images [N, H, W], from which it draws.
"""

import numpy as np
from PIL import Image

from pipeline.core.task import ImageForm
from pipeline.negatives.form import Ink, cropped

Images = Ink  # [N, H, W]


def side_by_side(images: Images, random: np.random.Generator) -> Ink:
    """Two or three images in a rough row or column, which overlap, touch or keep a distance."""
    column = random.random() < 0.3
    if column:
        images = images.swapaxes(1, 2)
    parts = [
        cropped(images[n]) for n in random.integers(len(images), size=random.choice([2, 2, 3]))
    ]
    height, width = (sum(part.shape[axis] for part in parts) + 40 for axis in (0, 1))
    canvas = np.zeros((height, width), np.uint8)
    left = 0
    for part in parts:
        top = int(random.integers(0, 21))
        place = canvas[top : top + part.shape[0], left : left + part.shape[1]]
        np.maximum(place, part, out=place)
        left += max(7, part.shape[1] + int(random.integers(-5, 8)))
    return canvas.T if column else canvas


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
