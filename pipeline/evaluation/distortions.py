"""Distorted images: shifted, rotated, scaled, noisy, with thinner or thicker strokes.

Images: uint8 [N, H, W], light ink on black. A distortion draws from a seeded generator, so every
call makes the same changes; the first images of a set get the same ones however many follow.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.evaluation.titles import DISTORTION_TITLES, NUDGE_TITLES

SEED = 1
Images = NDArray[np.uint8]
Amounts = NDArray[np.floating[Any]]


class Distortion(NamedTuple):
    """A random change of each image that leaves its class as it is."""

    title: str  # in tables and figures
    draw: Callable[[Images, np.random.Generator], Images]

    def __call__(self, images: Images) -> Images:
        """The distorted images, the same ones on every call."""
        return self.draw(images, np.random.default_rng(SEED))


class Nudge(NamedTuple):
    """Small changes, each made to all images, that should not change a prediction."""

    title: str  # in tables
    changes: tuple[Callable[[Images], Images], ...]

    def __call__(self, images: Images) -> Iterator[Images]:
        """The images after each of the changes."""
        return (change(images) for change in self.changes)


def shifted(images: Images, draw: np.random.Generator) -> Images:
    """Shifted by up to 2 pixels horizontally and vertically."""
    return _affine(images, shifts=draw.integers(-2, 3, (len(images), 2)))


def rotated(images: Images, draw: np.random.Generator) -> Images:
    """Rotated by up to 15 degrees either way."""
    return _affine(images, angles=draw.uniform(-15, 15, len(images)))


def scaled(images: Images, draw: np.random.Generator) -> Images:
    """Scaled by 0.9 to 1.1."""
    return _affine(images, scales=draw.uniform(0.9, 1.1, len(images)))


def noisy(images: Images, draw: np.random.Generator) -> Images:
    """Gaussian noise with a standard deviation of 0.2 of the pixel range."""
    noise = draw.normal(0, 0.2 * 255, images.shape)
    return np.clip(images + noise, 0, 255).round().astype(np.uint8)


def thinner(images: Images) -> Images:
    """Each pixel is the minimum of 2 x 2 pixels."""
    return np.asarray(ndimage.grey_erosion(images, (1, 2, 2)))


def thicker(images: Images) -> Images:
    """Each pixel is the maximum of 2 x 2 pixels."""
    return np.asarray(ndimage.grey_dilation(images, (1, 2, 2)))


def _affine(
    images: Images,
    angles: Amounts | None = None,
    scales: Amounts | None = None,
    shifts: NDArray[np.integer[Any]] | None = None,
) -> Images:
    """Rotate clockwise by degrees and scale about the centre, then shift by pixels (right, down).

    One amount for each image. Bilinear, with black around the image.
    """
    count, centre = len(images), (np.array(images.shape[1:]) - 1) / 2
    radians = np.radians(np.zeros(count) if angles is None else angles)
    scales = np.ones(count) if scales is None else scales
    shifts = np.zeros((count, 2), int) if shifts is None else shifts
    changed = np.empty_like(images)
    for number, image in enumerate(images):
        cosine, sine = np.cos(radians[number]), np.sin(radians[number])
        to_source = np.array([[cosine, -sine], [sine, cosine]]) / scales[number]
        offset = centre - to_source @ (centre + shifts[number, ::-1])
        pixels = ndimage.affine_transform(
            image, to_source, offset, output=float, order=1, mode="grid-constant"
        )
        changed[number] = pixels.round()
    return changed


DISTORTIONS = {
    "shifted": Distortion(DISTORTION_TITLES["shifted"], shifted),
    "rotated": Distortion(DISTORTION_TITLES["rotated"], rotated),
    "scaled": Distortion(DISTORTION_TITLES["scaled"], scaled),
    "noisy": Distortion(DISTORTION_TITLES["noisy"], noisy),
    "thinner": Distortion(DISTORTION_TITLES["thinner"], lambda images, draw: thinner(images)),
    "thicker": Distortion(DISTORTION_TITLES["thicker"], lambda images, draw: thicker(images)),
}
NUDGES = {
    "shift": Nudge(
        NUDGE_TITLES["shift"],
        tuple(
            partial(ndimage.shift, shift=(0, down, right), order=0)
            for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1))
        ),
    ),
    "rotation": Nudge(
        NUDGE_TITLES["rotation"],
        tuple(
            partial(
                ndimage.rotate,
                angle=angle,
                axes=(1, 2),
                reshape=False,
                order=1,
                mode="grid-constant",
            )
            for angle in (5, -5)
        ),
    ),
    "stroke": Nudge(NUDGE_TITLES["stroke"], (thinner, thicker)),
}
