"""The figures of a training: its loss, and the effect of the learning rate."""

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes

from pipeline.backprop.network import Training
from pipeline.backprop.rates import FLOOR, Outcome, highest_without_rise
from pipeline.core.figures import Figure

LOSS = r"$E_\mathrm{total}$"


def loss_curve(training: Training, long_run: Training) -> Figure:
    """The loss over the table of iterations, and over a longer run of the same training."""
    figure = Figure(figsize=(11, 4.2))
    left, right = figure.subplots(1, 2)
    losses, updates = training.losses, len(training.losses) - 1
    left.plot(losses, color="tab:blue", linewidth=2)
    left.set_title(f"Loss at {training.label}", loc="left")
    left.set_title(f"from {losses[0]:.4g} to {losses[-1]:.3g}", loc="right", fontsize=10)
    left.set_ylim(bottom=0)

    right.plot([max(loss, FLOOR) for loss in long_run.losses], color="tab:blue", linewidth=2)
    right.axvspan(0, updates, color="tab:orange", alpha=0.2, label="the curve on the left")
    right.set_yscale("log")
    right.set_title("Longer run, logarithmic axis (0 at the bottom)", loc="left")
    right.legend()
    for axes in (left, right):
        _label(axes)
    return figure


def learning_rates(
    trainings: Sequence[Training], outcomes: Sequence[Outcome], updates: int, long_run: int
) -> Figure:
    """The losses of trainings with several learning rates, and the outcomes of many more."""
    figure = Figure(figsize=(11, 8.4))
    grid = figure.add_gridspec(2, 2)
    colours = matplotlib.colormaps["viridis"]
    for column, scale in enumerate(("linear", "log")):
        axes = figure.add_subplot(grid[0, column])
        for number, training in enumerate(trainings):
            colour = colours(number / len(trainings))
            losses = [max(loss, FLOOR) for loss in training.losses]
            axes.plot(losses, color=colour, linewidth=2, label=training.label)
        axes.set_yscale(scale)
        axes.set_title(f"Loss, {scale} axis", loc="left")
        _label(axes)
    axes.legend(loc="lower left")
    _draw_outcomes(figure.add_subplot(grid[1, :]), outcomes, updates, long_run)
    return figure


def _draw_outcomes(axes: Axes, outcomes: Sequence[Outcome], updates: int, long_run: int) -> None:
    """Plot the loss that each rate leads to, and shade the range in which it never rose."""
    for rises, colour, label in (
        (False, "tab:blue", f"after {updates} updates; never rose"),
        (True, "tab:red", f"after {updates} updates; sometimes rose"),
    ):
        chosen = [outcome for outcome in outcomes if bool(outcome.rises) == rises]
        rates = [outcome.learning_rate for outcome in chosen]
        losses = [max(outcome.loss, FLOOR) for outcome in chosen]
        axes.plot(rates, losses, "o", markersize=4, color=colour, label=label)
    rates = [outcome.learning_rate for outcome in outcomes]
    losses = [max(outcome.long_run_loss, FLOOR) for outcome in outcomes]
    label = f"after {long_run:,} updates"
    axes.plot(rates, losses, "o", color="tab:gray", markerfacecolor="none", label=label)
    highest = highest_without_rise(outcomes)
    if highest is None:
        statement = "Even the lowest learning rate sometimes raised the loss"
    else:
        axes.axvspan(outcomes[0].learning_rate, highest, color="tab:blue", alpha=0.1)
        statement = f"No update raised the loss up to η = {highest:g}"
    axes.set_title(f"{statement} ({len(outcomes)} rates tried)", loc="left")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("learning rate η")
    axes.set_ylabel(f"{LOSS}, 0 at the bottom")
    axes.legend(loc="lower left", title="Loss")


def _label(axes: Axes) -> None:
    axes.set_xlabel("iteration")
    axes.set_ylabel(LOSS)
    axes.set_xlim(left=0)
