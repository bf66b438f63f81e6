"""Random affine distortion of a whole batch at once, in tensor code on the device."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def random_affine(
    inputs: Tensor, generator: torch.Generator, *, rotation: float, shift: float, scale: float
) -> Tensor:
    """Each image of float [N, C, H, W] turned, moved and stretched by its own random amounts.

    rotation: largest angle in degrees; shift: largest move as a fraction of the side;
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
