"""Finds the learning rates at which the loss never rises, by trying many."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from pipeline.backprop.network import Pair, Weights, train

SCANNED = [float(f"{10 ** (n / 20):.3g}") for n in range(-40, 61)]  # 0.01 to 1,000, 20 per decade
ROUNDING = 1e-14  # error of an activation; it changes a loss E by about ROUNDING * √E

FLOOR = 1e-34  # stands for a loss of 0 on a logarithmic axis


class Outcome(NamedTuple):
    """The outcome of a training with one learning rate."""

    learning_rate: float
    loss: float  # after as many updates as the table of iterations has
    long_run_loss: float
    rises: int  # number of updates in the long run that raised the loss


def scan(
    inputs: Pair,
    targets: Pair,
    weights: Weights,
    updates: int,
    long_run: int,
    learning_rates: Sequence[float] = SCANNED,
) -> list[Outcome]:
    """The outcome of each learning rate after `updates` and after `long_run` updates."""
    outcomes = []
    for rate in learning_rates:
        losses = train(inputs, targets, weights, rate, long_run).losses
        changes = ((after - before, before) for before, after in pairwise(losses))
        rises = sum(change > ROUNDING * before**0.5 for change, before in changes)
        outcomes.append(Outcome(rate, losses[updates], losses[-1], rises))
    return outcomes


def highest_without_rise(outcomes: Sequence[Outcome]) -> float | None:
    """The highest learning rate up to which no update raised the loss; None if the first one did.

    `outcomes` are in ascending order of the learning rate.
    """
    highest = None
    for outcome in outcomes:
        if outcome.rises:
            break
        highest = outcome.learning_rate
    return highest
