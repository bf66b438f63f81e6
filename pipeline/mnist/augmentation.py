"""Random distortions of a whole batch at once, each image by its own amounts, on the device.

The primitives take and give pixels 0..255, float [N, C, H, W].
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(images: Tensor, generator: torch.Generator, recipe: Any) -> Tensor:
    """uint8 [N, H, W], each image distorted at random: pixels 0..255, float [N, H, W].

    `recipe` has how far each may go: rotation, shift, scale, thicken, thin, noise.
    """
    r = recipe
    pixels = images.unsqueeze(1).float()
    pixels = random_affine(pixels, generator, rotation=r.rotation, shift=r.shift, scale=r.scale)
    pixels = random_strokes(pixels, generator, thicken=r.thicken, thin=r.thin)
    return random_noise(pixels, generator, noise=r.noise).squeeze(1)


def random_affine(
    inputs: Tensor, generator: torch.Generator, *, rotation: float, shift: float, scale: float
) -> Tensor:
    """Each image rotated, shifted and scaled.

    rotation: largest angle in degrees; shift: largest shift as a fraction of the side;
    scale: largest relative change of size. All are drawn uniformly from -x..x. Bilinear;
    what comes in from outside repeats the border, which in MNIST is background.
    """
    count = inputs.shape[0]
    draws = torch.rand(4, count, generator=generator, device=inputs.device) * 2 - 1
    angle = draws[0] * math.radians(rotation)
    size = 1 + draws[1] * scale
    cosine, sine = angle.cos() / size, angle.sin() / size
    # affine_grid maps output to input positions in -1..1, so that a side is 2 long
    across, down = draws[2] * 2 * shift, draws[3] * 2 * shift
    rows = [torch.stack([cosine, -sine, across], 1), torch.stack([sine, cosine, down], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(inputs.shape), align_corners=False)
    return F.grid_sample(inputs, grid, padding_mode="border", align_corners=False)


def random_strokes(
    inputs: Tensor, generator: torch.Generator, *, thicken: float, thin: float
) -> Tensor:
    """Light strokes on half of the images thicker, on the others thinner.

    A pixel goes up to the fraction `thicken` of the way to the largest of its 3 x 3 neighbourhood,
    or up to `thin` of the way to the smallest.
    """
    amount = 2 * _draws(inputs, generator) - 1
    towards_largest = _of_neighbours(inputs, torch.maximum) - inputs
    towards_smallest = _of_neighbours(inputs, torch.minimum) - inputs
    thicker, thinner = amount.clamp(min=0) * thicken, (-amount).clamp(min=0) * thin
    return inputs + thicker * towards_largest + thinner * towards_smallest


def random_noise(inputs: Tensor, generator: torch.Generator, *, noise: float) -> Tensor:
    """Gaussian noise on half of the images; pixels stay between 0 and 255.

    noise: largest standard deviation, as a fraction of 255.
    """
    deviation = (2 * _draws(inputs, generator) - 1).clamp(min=0) * noise * 255
    field = torch.empty_like(inputs).normal_(generator=generator)
    return (inputs + field * deviation).clamp(0, 255)


def _of_neighbours(inputs: Tensor, pick: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The largest or smallest pixel of each 3 x 3 neighbourhood, of three rows of three columns.

    On a CPU this takes a fifteenth of the time of `max_pool2d`.
    """
    padded = F.pad(inputs, (1, 1, 1, 1), mode="replicate")
    rows = pick(pick(padded[..., :-2], padded[..., 1:-1]), padded[..., 2:])
    return pick(pick(rows[..., :-2, :], rows[..., 1:-1, :]), rows[..., 2:, :])


def _draws(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """A number 0..1 for each image, [N, 1, 1, 1]."""
    return torch.rand(len(inputs), 1, 1, 1, generator=generator, device=inputs.device)
