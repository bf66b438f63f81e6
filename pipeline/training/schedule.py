"""What changes from step to step, computed before training: learning rate and decay."""

import torch
from torch import Tensor

from pipeline.training.recipe import Recipe


class Schedule:
    """Tables on the device, with the position of the next step: a step reads them there."""

    def __init__(self, recipe: Recipe, steps_per_epoch: int, device: torch.device) -> None:
        self.steps_per_epoch = steps_per_epoch
        steps = recipe.epochs * steps_per_epoch
        rates = [recipe.learning_rate(step / steps) for step in range(1, steps + 1)]
        self.rates = torch.tensor(rates, device=device)
        # Early decays are smaller, so that the random initial weights soon drop out of the average.
        decays = [min(recipe.weight_average, (1 + step) / (10 + step)) for step in range(steps)]
        self.decays = torch.tensor([0.0, *decays[1:]], device=device)  # starts as the first step's
        self.position = torch.zeros(1, dtype=torch.int64, device=device)

    def start_epoch(self, number: int) -> None:
        """Move to the first step of an epoch; `number` counts from 1."""
        self.position.fill_((number - 1) * self.steps_per_epoch)

    def next(self) -> tuple[Tensor, Tensor]:
        """Return learning rate and decay of the next step, each [1], and move on."""
        rate, decay = (table.index_select(0, self.position) for table in (self.rates, self.decays))
        self.position += 1
        return rate, decay
