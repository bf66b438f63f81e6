"""Images as a model may meet them: shifted, rotated, scaled, noisy, with other strokes."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

Images = NDArray[np.uint8]


def shifted(images: Images, draw: np.random.Generator) -> Images:
    """Up to 2 pixels each way."""
    shifts = draw.integers(-2, 3, (len(images), 2))
    return _affine(images, shifts=shifts.tolist())


def rotated(images: Images, draw: np.random.Generator) -> Images:
    """Up to 15 degrees either way."""
    return _affine(images, angles=draw.uniform(-15, 15, len(images)).tolist())


def scaled(images: Images, draw: np.random.Generator) -> Images:
    """0.9 to 1.1 times as large."""
    return _affine(images, scales=draw.uniform(0.9, 1.1, len(images)).tolist())


def noisy(images: Images, draw: np.random.Generator) -> Images:
    """Gaussian noise with a standard deviation of 0.2 of the range of a pixel."""
    noise = draw.normal(0, 0.2 * 255, images.shape)
    return np.clip(images + noise, 0, 255).round().astype(np.uint8)


def thinner(images: Images, draw: np.random.Generator) -> Images:
    """Each pixel the smallest of 2 x 2."""
    return np.asarray(ndimage.grey_erosion(images, (1, 2, 2)))


def thicker(images: Images, draw: np.random.Generator) -> Images:
    """Each pixel the largest of 2 x 2."""
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
