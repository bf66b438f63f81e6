"""The tables that a training step reads."""

from dataclasses import replace

import pytest
import torch

from pipeline.training.schedule import Schedule
from tests.unit.test_recipe import RECIPE


def test_steps_follow_the_tables_from_any_epoch() -> None:
    recipe = replace(RECIPE, epochs=2, warmup=0.0, weight_average=0.25)
    schedule = Schedule(recipe, 3, torch.device("cpu"))
    steps = [tuple(value.item() for value in schedule.next()) for _ in range(6)]
    rates, shares = zip(*steps, strict=True)
    assert rates == pytest.approx([recipe.learning_rate(step / 6) for step in range(1, 7)])
    # the average starts as the weights after the first step, and soon follows the decay
    assert shares == pytest.approx([1, 1 - 2 / 11, 0.75, 0.75, 0.75, 0.75])
    schedule.start_epoch(2)
    assert tuple(value.item() for value in schedule.next()) == steps[3]


def test_a_slow_average_is_exact() -> None:
    """1 - 0.9999, subtracted in single precision, would be 0.02 % off."""
    recipe = replace(RECIPE, epochs=1, weight_average=0.9999)
    schedule = Schedule(recipe, 100_000, torch.device("cpu"))
    assert schedule.shares[-1].item() == pytest.approx(1e-4, rel=1e-6)
