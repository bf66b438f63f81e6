"""Distorted test images: shifted, rotated, scaled, noisy, with thinner or thicker strokes."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

Images = NDArray[np.uint8]


def shifted(images: Images, draw: np.random.Generator) -> Images:
    """Shifted by up to 2 pixels horizontally and vertically."""
    shifts = draw.integers(-2, 3, (len(images), 2))
    return _affine(images, shifts=shifts.tolist())


def rotated(images: Images, draw: np.random.Generator) -> Images:
    """Rotated by up to 15 degrees either way."""
    return _affine(images, angles=draw.uniform(-15, 15, len(images)).tolist())


def scaled(images: Images, draw: np.random.Generator) -> Images:
    """Scaled by 0.9 to 1.1."""
    return _affine(images, scales=draw.uniform(0.9, 1.1, len(images)).tolist())


def noisy(images: Images, draw: np.random.Generator) -> Images:
    """Gaussian noise with a standard deviation of 0.2 of the pixel range."""
    noise = draw.normal(0, 0.2 * 255, images.shape)
    return np.clip(images + noise, 0, 255).round().astype(np.uint8)


def thinner(images: Images, draw: np.random.Generator) -> Images:
    """Each pixel is the minimum of 2 x 2 pixels."""
    return np.asarray(ndimage.grey_erosion(images, (1, 2, 2)))


def thicker(images: Images, draw: np.random.Generator) -> Images:
    """Each pixel is the maximum of 2 x 2 pixels."""
    return np.asarray(ndimage.grey_dilation(images, (1, 2, 2)))


DISTORTIONS = {
    "undistorted": lambda images, draw: images,
    "shifted by up to 2 pixels": shifted,
    "rotated by up to 15°": rotated,
    "0.9 to 1.1 times as large": scaled,
    "Gaussian noise, σ = 0.2": noisy,
    "thinner strokes": thinner,
    "thicker strokes": thicker,
}


def _affine(
    images: Images,
    shifts: list[list[int]] | None = None,
    angles: list[float] | None = None,
    scales: list[float] | None = None,
) -> Images:
    count = len(images)
    amounts = zip(
        torch.from_numpy(images)[:, None],
        shifts or [[0, 0]] * count,
        angles or [0.0] * count,
        scales or [1.0] * count,
        strict=True,
    )
    changed = [
        functional.affine(image, angle, shift, scale, [0.0, 0.0], InterpolationMode.BILINEAR)
        for image, shift, angle, scale in amounts
    ]
    return torch.stack(changed)[:, 0].numpy()
