"""Figures for an image classifier; `names` are its class names in label order.

The size of a figure in pixels is bounded for any number of classes and any length of names.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import ticker
from numpy.typing import NDArray

from pipeline.core.figures import Figure

TRAINING, TEST = "tab:blue", "tab:orange"
MAX_NAME_LENGTH = 20  # characters; longer names are truncated
MAX_COUNTS = 40  # classes up to which a confusion matrix shows counts
MAX_SHOWN = 100  # misclassified images
MAX_TICKS = 100  # class names along an axis of a confusion matrix


class Examples(NamedTuple):
    """A kind of images, and a share that was measured on them: a line of a sheet."""

    title: str
    images: NDArray[np.uint8]  # [N, H, W]
    share: float  # 0..1


def sample_sheet(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    names: Sequence[str],
    columns: int = 20,
    title: str = "The first {columns} training images of each class",
) -> Figure:
    """Draw one row per class with the first of its images, uint8 [N, H, W]."""
    classes, (height, width) = len(names), images.shape[1:]
    rows = [images[labels == number][:columns] for number in range(classes)]
    blank = np.zeros((columns, height, width), np.uint8)
    padded = np.stack([np.concatenate([row, blank])[:columns] for row in rows])
    sheet = padded.swapaxes(1, 2).reshape(classes * height, columns * width)
    figure = Figure(figsize=(10, classes * min(0.52, max(0.2, 20 / classes))))
    axes = figure.subplots()
    axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=255)
    middles = [height // 2 + height * number for number in range(classes)]
    axes.set_yticks(middles, [shorten(name) for name in names], parse_math=False)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_title(title.format(columns=columns))
    return figure


def learning_curves(history: Sequence[dict[str, float]]) -> Figure:
    """Plot training loss, test loss, training accuracy and test accuracy over epochs.

    Each row of `history` has epoch, training_loss, test_loss, training_accuracy, test_accuracy.
    """
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(10, 7))
    panels = figure.subplots(2, 2)
    for column, (name, color) in enumerate([("training", TRAINING), ("test", TEST)]):
        losses = [row[f"{name}_loss"] for row in history]
        accuracies = [row[f"{name}_accuracy"] for row in history]
        loss_axes, accuracy_axes = panels[:, column]
        loss_axes.plot(epochs, losses, "o-", color=color, markersize=3)
        loss_axes.set_title(f"{name.capitalize()} loss", loc="left")
        loss_axes.set_title(f"last epoch: {losses[-1]:.4f}", loc="right", fontsize=10)
        loss_axes.set_yscale("log")
        loss_axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        loss_axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        loss_axes.yaxis.set_minor_locator(ticker.NullLocator())
        accuracy_axes.plot(epochs, accuracies, "o-", color=color, markersize=3, clip_on=False)
        accuracy_axes.set_title(f"{name.capitalize()} accuracy", loc="left")
        accuracy_axes.set_title(f"last epoch: {accuracies[-1]:.2%}", loc="right", fontsize=10)
        accuracy_axes.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=1))
        accuracy_axes.set_ylim(top=min(1, accuracy_axes.get_ylim()[1]))
        for axes in (loss_axes, accuracy_axes):
            axes.set_xlabel("epoch")
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    figure.supxlabel(
        "training: augmented images, current weights; test: averaged weights", fontsize=9
    )
    return figure


def confusion_matrix(matrix: NDArray[np.int64], names: Sequence[str], noun: str) -> Figure:
    """Draw counts by true class (rows) and predicted class (columns), with errors in colour.

    `noun`: what an image shows. With many classes, the figure omits the counts and some names.
    """
    classes = len(names)
    errors = matrix.astype(float)
    np.fill_diagonal(errors, np.nan)
    scale = min(max(1, classes / 10), 2.6)
    figure = Figure(figsize=(6.4 * scale, 6 * scale))
    axes = figure.subplots()
    shown = axes.imshow(errors, cmap="Oranges", vmin=0, vmax=2 * max(1, np.nanmax(errors)))
    if classes <= MAX_COUNTS:
        size = min(10, 260 / classes)
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                weight = "bold" if row == column else "normal"
                text = f"{count:,}"
                axes.text(column, row, text, ha="center", va="center", weight=weight, size=size)
    else:
        integers = ticker.MaxNLocator(integer=True)
        figure.colorbar(shown, label="test images", shrink=0.5, ticks=integers)
    ticks = range(0, classes, -(-classes // MAX_TICKS))
    shortened = [shorten(names[number]) for number in ticks]
    characters = len(ticks) * (max(map(len, shortened)) + 1)
    rotation = 90 if characters > 50 * scale else 0  # they do not fit side by side
    axes.set_xticks(ticks, shortened, parse_math=False, rotation=rotation)
    axes.set_yticks(ticks, shortened, parse_math=False)
    axes.grid(False)
    axes.set_xlabel(f"predicted {noun}")
    axes.set_ylabel(f"true {noun}")
    total, right = int(matrix.sum()), int(np.trace(matrix))
    axes.set_title(f"{total - right} of {total:,} test images misclassified")
    return figure


def misclassified_sheet(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    predictions: NDArray[np.int64],
    confidences: NDArray[np.float32],
    maps: NDArray[np.float32],
    names: Sequence[str],
) -> Figure:
    """Draw up to MAX_SHOWN of the images [N, H, W] with true class, prediction and confidence.

    The occlusion maps, float32 [MAX_SHOWN or N, H, W], colour the ink for and against a prediction.
    """
    shown, columns = min(len(images), MAX_SHOWN), 10
    rows = max(1, -(-shown // columns))
    short = max(map(len, names)) == 1
    template = "{} → {}  {:.0%}" if short else "{}\n→ {}\n{:.0%}"
    figure = Figure(figsize=(10, (1.2 if short else 1.5) * rows + 0.6))
    for index in range(shown):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.imshow(images[index], cmap="gray_r", vmin=0, vmax=400)  # grey, so that colours show
        weights = maps[index] / max(np.abs(maps[index]).max(), np.finfo(np.float32).tiny)
        axes.imshow(weights, cmap="PuOr_r", vmin=-1, vmax=1, alpha=0.8 * np.abs(weights))
        pair = [shorten(names[of[index]], 10) for of in (labels, predictions)]
        title = template.format(*pair, confidences[index])
        axes.set_title(title, fontsize=9 if short else 8, parse_math=False)
        axes.axis("off")
    count = f"{shown} of {len(images)}" if shown < len(images) else f"{shown}"
    figure.suptitle(
        f"{count} misclassified test images: true class → prediction, confidence\n"
        "Ink that speaks for the prediction is orange, ink against it purple"
    )
    return figure


def behaviour_sheet(rows: Sequence[Examples], meaning: str) -> Figure:
    """Draw a line per kind of images: examples, and a share of all; `meaning` says of what."""
    columns, height, width = rows[0].images.shape
    side = 0.6  # inches
    sizes = (columns * side * width / height, 3)
    figure = Figure(figsize=(sum(sizes) + 2, side * len(rows) + 0.9))
    examples, axes = figure.subplots(1, 2, sharey=True, width_ratios=sizes)
    sheet = np.concatenate([np.concatenate(list(row.images), axis=1) for row in rows])
    examples.imshow(sheet, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    middles = [height * (number + 0.5) - 0.5 for number in range(len(rows))]
    examples.set_yticks(middles, [row.title for row in rows], parse_math=False)
    examples.set_xticks([])
    examples.tick_params(length=0)
    examples.grid(False)
    examples.spines[:].set_visible(False)
    for middle, row in zip(middles, rows, strict=True):
        text = f"{row.share:.2%}"
        above = {"textcoords": "offset points", "ha": "center", "size": 9}
        axes.annotate(text, (row.share, middle), (0, 6), **above)
        axes.plot(row.share, middle, "o", color=TEST)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.12)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=1))
    axes.set_title(meaning, size=10)
    return figure


def shorten(name: str, max_length: int = MAX_NAME_LENGTH) -> str:
    """Truncate a name to `max_length` characters."""
    return name if len(name) <= max_length else f"{name[: max_length - 1]}…"
