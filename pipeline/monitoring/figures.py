"""Figures of watching: the last windows against the reference."""

import numpy as np

from pipeline.core.figures import Figure
from pipeline.monitoring.image_statistics import STATISTICS
from pipeline.monitoring.observations import Observations
from pipeline.monitoring.reference import Reference
from pipeline.monitoring.state import State
from pipeline.monitoring.windows import Window

REFERENCE, IN_USE, ALARM, MEASURED = "tab:gray", "tab:blue", "tab:red", "black"
COLUMNS = 10


def history(state: State) -> Figure:
    """The p-values of all tests, and the accuracy, by window."""
    figure = Figure(figsize=(9, 6))
    above, below = figure.subplots(2, 1, sharex=True)
    first = state.judged - len(state.windows) + 1
    numbers = np.arange(first, state.judged + 1)
    for test in state.windows[0].p_values:
        values = np.maximum([window.p_values[test] for window in state.windows], 1e-12)
        above.plot(numbers, values, "o-", markersize=3, label=test)
    thresholds = [window.threshold for window in state.windows]
    above.plot(numbers, thresholds, "--_", color=ALARM, label="alarm")
    above.set_yscale("log")
    above.set_title("p-values; below the dashed line, the window differs", loc="left")
    above.legend(ncols=3, fontsize=8)
    shown = [(n, w.estimated) for n, w in zip(numbers, state.windows, strict=True) if w.estimated]
    if shown:
        x = [number for number, _ in shown]
        below.plot(
            x, [each.value for _, each in shown], "o-", markersize=3, color=IN_USE,
            label="estimated, where a class is shown",
        )  # fmt: skip
        below.fill_between(
            x, [each.low for _, each in shown], [each.high for _, each in shown],
            color=IN_USE, alpha=0.2,
        )  # fmt: skip
    below.axhline(state.reference_accuracy, color=REFERENCE, linestyle="--", label="reference")
    if measured := state.measured:
        error = [[measured.value - measured.low], [measured.high - measured.value]]
        below.errorbar(
            [numbers[-1]], [measured.value], error, fmt="s", color=MEASURED, capsize=3,
            label="measured with labels",
        )  # fmt: skip
    below.set_title("accuracy with its 95% interval", loc="left")
    below.set_xlabel("window")
    below.set_xlim(first - 0.5, state.judged + 0.5)
    below.xaxis.get_major_locator().set_params(integer=True)
    below.legend(fontsize=8)
    return figure


def class_mix(state: State) -> Figure:
    """The shares of the predicted classes in the last window and in the reference."""
    last = state.last
    assert last is not None
    names = list(last.classes)
    figure = Figure(figsize=(9, 3))
    axes = figure.subplots()
    places = np.arange(len(names))
    for offset, shares, color, label in (
        (-0.2, state.reference_classes, REFERENCE, "reference"),
        (0.2, last.classes, IN_USE, "last window"),
    ):
        axes.bar(places + offset, [shares[name] for name in names], 0.4, color=color, label=label)
    axes.set_xticks(places, names, parse_math=False)
    axes.legend(fontsize=8)
    return figure


def statistics(reference: Reference, observations: Observations, state: State) -> Figure:
    """The distribution of each image statistic in the last window and in the reference."""
    last = state.last
    assert last is not None
    figure = Figure(figsize=(9, 5))
    for number, (axes, (name, title)) in enumerate(
        zip(figure.subplots(2, 3).ravel(), STATISTICS.items(), strict=True)
    ):
        known = reference.observations.statistics[:, number]
        seen = observations.statistics[:, number]
        low, high = np.quantile(np.concatenate([known, seen]), [0.001, 0.999])
        bins = np.linspace(low, max(high, low + 1e-6), 30)
        for values, color, label in (
            (known, REFERENCE, "reference"),
            (seen, IN_USE, "last window"),
        ):
            axes.hist(values, bins, density=True, alpha=0.6, color=color, label=label)
        axes.set_title(f"{name.replace('_', ' ')}, distance {last.distances[name]:.2f}", size=10)
        axes.set_xlabel(title, size=7)
        axes.set_yticks([])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=8)
    return figure


def unusual(window: Window, number: int = 3 * COLUMNS) -> Figure:
    """The images of a window that look least like any class, with the answers to them."""
    order = np.argsort(-window.novelty, kind="stable")[:number]
    rows = -(-len(order) // COLUMNS)
    height, width = window.images.shape[1:]
    above, between = height // 2, width // 8  # for the answer, and to the next image
    sheet = np.zeros((rows, height + above, COLUMNS, width + between), np.uint8)
    figure = Figure(figsize=(9, 9 * rows * (height + above) / (COLUMNS * (width + between))))
    axes = figure.subplots()
    for number, place in enumerate(order.tolist()):
        row, column = divmod(number, COLUMNS)
        sheet[row, above:, column, :width] = window.images[place]
        x, y = column * (width + between), row * (height + above) + above - 2
        axes.text(x, y, window.labels[place][:12], size=8, parse_math=False)
    axes.imshow(sheet.reshape(rows * (height + above), -1), cmap="gray_r", vmin=0, vmax=255)
    axes.set_axis_off()
    return figure
