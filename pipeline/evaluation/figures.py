"""The figures of a classifier of images; `names` are those of its classes, in order."""

from collections.abc import Sequence

import numpy as np
from matplotlib import ticker
from numpy.typing import NDArray

from pipeline.core.figures import Figure

TRAINING, TEST = "tab:blue", "tab:orange"


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
    figure = Figure(figsize=(10, 0.52 * classes))
    axes = figure.subplots()
    axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=255)
    axes.set_yticks([height // 2 + height * number for number in range(classes)], names)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("label")
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

    `noun`: what an image shows.
    """
    errors = matrix.astype(float)
    np.fill_diagonal(errors, np.nan)
    enlarged = max(1, len(names) / 10)
    figure = Figure(figsize=(6.4 * enlarged, 6 * enlarged))
    axes = figure.subplots()
    axes.imshow(errors, cmap="Oranges", vmin=0, vmax=2 * max(1, np.nanmax(errors)))
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            weight = "bold" if row == column else "normal"
            axes.text(column, row, f"{count:,}", ha="center", va="center", weight=weight)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
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
    figure = Figure(figsize=(10, 1.2 * rows + 0.6))
    for index in range(shown):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.imshow(images[index], cmap="gray_r", vmin=0, vmax=255)
        truth, prediction = names[labels[index]], names[predictions[index]]
        axes.set_title(f"{truth} → {prediction}  {confidences[index]:.0%}", fontsize=9)
        axes.axis("off")
    some = f"{shown} of the {len(images)}" if shown < len(images) else f"The {shown}"
    figure.suptitle(f"{some} misclassified test images: truth → prediction, confidence")
    return figure
