"""Augmentation of a whole batch on the device, with random amounts for each image.

The primitives take and return pixels 0..255, float [N, C, H, W].
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(images: Tensor, generator: torch.Generator, recipe: Any) -> Tensor:
    """Distort each uint8 image [N, H, W] at random: pixels 0..255, float [N, H, W].

    `recipe` limits the distortions: rotation, shift, scale, thicken, thin, noise.
    """
    r = recipe
    pixels = images.unsqueeze(1).float()
    pixels = random_affine(pixels, generator, rotation=r.rotation, shift=r.shift, scale=r.scale)
    pixels = random_strokes(pixels, generator, thicken=r.thicken, thin=r.thin)
    return random_noise(pixels, generator, noise=r.noise).squeeze(1)


def random_affine(
    inputs: Tensor, generator: torch.Generator, *, rotation: float, shift: float, scale: float
) -> Tensor:
    """Rotate, shift and scale each image, with bilinear interpolation.

    rotation: largest angle in degrees; shift: largest shift as a fraction of the side;
    scale: largest relative change of size. Amounts are uniform in -x..x. Pixels from outside the
    image repeat the border, which is background in MNIST.
    """
    count = inputs.shape[0]
    draws = torch.rand(4, count, 1, generator=generator, device=inputs.device) * 2 - 1
    angle = draws[0] * math.radians(rotation)
    size = 1 + draws[1] * scale
    cosine, sine = angle.cos() / size, angle.sin() / size
    down, across = (_positions(side, inputs.device) for side in inputs.shape[-2:])
    # F.affine_grid gives the same positions, with a matrix product that takes longer
    x = (cosine * across + draws[2] * 2 * shift).unsqueeze(1) - (sine * down).unsqueeze(2)
    y = (sine * across + draws[3] * 2 * shift).unsqueeze(1) + (cosine * down).unsqueeze(2)
    grid = torch.stack([x, y], -1)
    return F.grid_sample(inputs, grid, padding_mode="border", align_corners=False)


def random_strokes(
    inputs: Tensor, generator: torch.Generator, *, thicken: float, thin: float
) -> Tensor:
    """Thicken the light strokes of half of the images and thin those of the others.

    A pixel moves by up to the fraction `thicken` towards the maximum of its 3 x 3 neighbourhood,
    or by up to `thin` towards the minimum.
    """
    amount = 2 * _uniform(inputs, generator) - 1
    towards_maximum = _pool_3x3(inputs, torch.maximum, -math.inf) - inputs
    towards_minimum = _pool_3x3(inputs, torch.minimum, math.inf) - inputs
    thicker, thinner = amount.clamp(min=0) * thicken, (-amount).clamp(min=0) * thin
    return inputs + thicker * towards_maximum + thinner * towards_minimum


def random_noise(inputs: Tensor, generator: torch.Generator, *, noise: float) -> Tensor:
    """Add Gaussian noise to half of the images; pixels stay in 0..255.

    noise: largest standard deviation, as a fraction of 255.
    """
    deviation = (2 * _uniform(inputs, generator) - 1).clamp(min=0) * noise * 255
    gaussian = torch.empty_like(inputs).normal_(generator=generator)
    return (inputs + gaussian * deviation).clamp(0, 255)


def _pool_3x3(inputs: Tensor, pick: Callable[[Tensor, Tensor], Tensor], border: float) -> Tensor:
    """Return the maximum or minimum of each 3 x 3 neighbourhood, by rows and then columns.

    `pick` never picks `border`. On a CPU, this takes a fifteenth of the time of `max_pool2d`.
    """
    # F.pad has no fast deterministic "replicate" on a GPU
    padded = F.pad(inputs, (1, 1, 1, 1), value=border)
    rows = pick(pick(padded[..., :-2], padded[..., 1:-1]), padded[..., 2:])
    return pick(pick(rows[..., :-2, :], rows[..., 1:-1, :]), rows[..., 2:, :])


def _uniform(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one number in 0..1 per image, [N, 1, 1, 1]."""
    return torch.rand(len(inputs), 1, 1, 1, generator=generator, device=inputs.device)


def _positions(side: int, device: torch.device) -> Tensor:
    """Return the centres of the pixels of a side from -1 to 1, [side]."""
    return (torch.arange(side, device=device) * 2 + 1) / side - 1
