"""What changes from step to step, computed before training."""

import torch
from torch import Tensor

from pipeline.training.recipe import Recipe


class Schedule:
    """The learning rate, and the share of a step's weights in their average.

    A step reads the tables on its device, at the position that is stored there.
    """

    def __init__(self, recipe: Recipe, steps_per_epoch: int, device: torch.device) -> None:
        self.steps_per_epoch = steps_per_epoch
        steps = recipe.epochs * steps_per_epoch
        rates = [recipe.learning_rate(step / steps) for step in range(1, steps + 1)]
        self.rates = torch.tensor(rates, device=device)
        # The average starts as the weights after the first step. Early shares are larger, so that
        # these soon drop out of it.
        shares = [1 - min(recipe.weight_average, (1 + step) / (10 + step)) for step in range(steps)]
        self.shares = torch.tensor([1.0, *shares[1:]], device=device)
        self.position = torch.zeros(1, dtype=torch.int64, device=device)

    def start_epoch(self, number: int) -> None:
        """Move to the first step of an epoch; `number` counts from 1."""
        self.position.fill_((number - 1) * self.steps_per_epoch)

    def next(self) -> tuple[Tensor, Tensor]:
        """Return learning rate and share of the next step, each [1], and move on."""
        rate, share = (table.index_select(0, self.position) for table in (self.rates, self.shares))
        self.position += 1
        return rate, share
