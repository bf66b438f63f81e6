"""Letters shifted by whole pixels, with noise: enough for print."""

from typing import Any

import torch
from torch import Tensor


def augment(images: Tensor, generator: torch.Generator, recipe: Any) -> Tensor:
    """uint8 [N, 32, 32] to float, 0 to 255: one shift per batch, and noise per image."""
    most = int(recipe.shift * images.shape[-1])
    size = (2,)  # one shift for all
    draws = torch.randint(-most, most + 1, size, generator=generator, device=images.device)
    down, right = draws.tolist()
    pixels = images.roll((down, right), (1, 2)).float()
    field = torch.empty_like(pixels).normal_(generator=generator)
    deviation: float = recipe.noise * 255
    return (pixels + field * deviation).clamp(0, 255)
