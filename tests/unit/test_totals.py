"""Sums over the steps of an epoch."""

import pytest
import torch
from torch import tensor

from pipeline.training.totals import Totals

SCORES = tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0], [5.0, 4.0]])
TARGETS = tensor([0, 1, 1, 1])  # two of the four are right


def test_loss_and_accuracy_are_means_over_images() -> None:
    totals = Totals(torch.device("cpu"))
    totals.add(tensor(2.0), SCORES, TARGETS)
    totals.add(tensor(8.0), SCORES[:2], TARGETS[:2])
    loss, accuracy = totals.read()
    assert loss == pytest.approx((4 * 2 + 2 * 8) / 6)
    assert accuracy == pytest.approx(4 / 6)
    totals.clear()
    totals.add(tensor(1.0), SCORES, TARGETS)
    assert totals.read() == (1.0, 0.5)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_the_first_step_without_a_finite_loss_is_remembered(value: float) -> None:
    totals = Totals(torch.device("cpu"))
    totals.add(tensor(1.0), SCORES, TARGETS)
    assert totals.failed_step() is None
    for loss in (1.0, value, 1.0, float("nan")):
        totals.add(tensor(loss), SCORES, TARGETS)
    assert totals.failed_step() == 3
    totals.clear()
    assert totals.failed_step() is None
    totals.add(tensor(value), SCORES, TARGETS)
    assert totals.failed_step() == 1


def test_a_large_loss_does_not_overflow() -> None:
    totals = Totals(torch.device("cpu"))
    totals.add(tensor(3e38), SCORES, TARGETS)
    assert totals.read()[0] == pytest.approx(3e38)
