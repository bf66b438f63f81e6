"""The figures of a classifier of images; `names` are those of its classes, in order.

Their size in pixels is bounded, whatever the number of classes and the length of their names.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib import ticker
from numpy.typing import NDArray

from pipeline.core.figures import Figure

TRAINING, TEST = "tab:blue", "tab:orange"
LONGEST_NAME = 20  # characters; a longer one is cut
MOST_NUMBERED = 40  # classes whose counts are legible in a confusion matrix
MOST_TICKS = 100  # ... whose names are


def sample_sheet(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    names: Sequence[str],
    columns: int = 20,
) -> Figure:
    """A row of examples per class, the first of each in images, uint8 [N, H, W]."""
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
    axes.set_title(f"The first {columns} training images of each class")
    return figure


def learning_curves(history: Sequence[dict[str, float]]) -> Figure:
    """Four panels over epochs: training loss, test loss, training accuracy, test accuracy.

    A row of `history` has epoch, training_loss, test_loss, training_accuracy, test_accuracy.
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
        "training: augmented images, weights of the moment; test: averaged weights", fontsize=9
    )
    return figure


def confusion_matrix(matrix: NDArray[np.int64], names: Sequence[str], noun: str) -> Figure:
    """Counts, true class by row, predicted class by column; the errors are coloured.

    `noun`: what an image shows. Of many classes, colours stand without counts and some names.
    """
    classes = len(names)
    errors = matrix.astype(float)
    np.fill_diagonal(errors, np.nan)
    enlarged = min(max(1, classes / 10), 2.6)
    figure = Figure(figsize=(6.4 * enlarged, 6 * enlarged))
    axes = figure.subplots()
    shown = axes.imshow(errors, cmap="Oranges", vmin=0, vmax=2 * max(1, np.nanmax(errors)))
    if classes <= MOST_NUMBERED:
        size = min(10, 260 / classes)
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                weight = "bold" if row == column else "normal"
                text = f"{count:,}"
                axes.text(column, row, text, ha="center", va="center", weight=weight, size=size)
    else:
        whole = ticker.MaxNLocator(integer=True)
        figure.colorbar(shown, label="test images", shrink=0.5, ticks=whole)
    ticks = range(0, classes, -(-classes // MOST_TICKS))
    shortened = [shorten(names[number]) for number in ticks]
    characters = len(ticks) * (max(map(len, shortened)) + 1)
    rotation = 90 if characters > 50 * enlarged else 0  # where they do not fit side by side
    axes.set_xticks(ticks, shortened, parse_math=False, rotation=rotation)
    axes.set_yticks(ticks, shortened, parse_math=False)
    axes.grid(False)
    axes.set_xlabel(f"predicted {noun}")
    axes.set_ylabel(f"true {noun}")
    total, right = int(matrix.sum()), int(np.trace(matrix))
    axes.set_title(f"{total - right} of {total:,} test images are misclassified")
    return figure


def misclassified_sheet(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    predictions: NDArray[np.int64],
    confidences: NDArray[np.float32],
    names: Sequence[str],
    most: int = 100,
) -> Figure:
    """The given images [N, H, W], at most so many, each with truth, prediction and confidence."""
    shown, columns = min(len(images), most), 10
    rows = max(1, -(-shown // columns))
    short = max(map(len, names)) == 1
    template = "{} → {}  {:.0%}" if short else "{}\n→ {}\n{:.0%}"
    figure = Figure(figsize=(10, (1.2 if short else 1.5) * rows + 0.6))
    for index in range(shown):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.imshow(images[index], cmap="gray_r", vmin=0, vmax=255)
        pair = [shorten(names[of[index]], 10) for of in (labels, predictions)]
        title = template.format(*pair, confidences[index])
        axes.set_title(title, fontsize=9 if short else 8, parse_math=False)
        axes.axis("off")
    some = f"{shown} of the {len(images)}" if shown < len(images) else f"The {shown}"
    figure.suptitle(f"{some} misclassified test images: truth → prediction, confidence")
    return figure


def shorten(name: str, longest: int = LONGEST_NAME) -> str:
    """The name, cut to so many characters."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
