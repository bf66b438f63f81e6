"""Every figure of the project; nothing else knows matplotlib."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib import ticker
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torchvision.utils import make_grid

from pipeline.files import replacing

matplotlib.rcParams.update(
    {
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.alpha": 0.3,
    }
)
TRAINING, TEST = "tab:blue", "tab:orange"


def save(figure: Figure, path: Path) -> None:
    """Write the figure, whole or not at all; the same figure gives the same bytes."""
    with replacing(path) as temporary:
        figure.savefig(temporary)


def sample_sheet(images: NDArray[np.uint8], labels: NDArray[np.uint8], columns: int = 20) -> Figure:
    """A row of examples per class, the first of each in images, uint8 [N, 28, 28]."""
    rows = [images[labels == digit][:columns] for digit in range(10)]
    blank = np.zeros((columns, 28, 28), np.uint8)
    padded = np.concatenate([np.concatenate([row, blank])[:columns] for row in rows])
    sheet = make_grid(torch.from_numpy(padded)[:, None], nrow=columns, padding=2)[0]
    figure = Figure(figsize=(10, 5.2))
    axes = figure.subplots()
    axes.imshow(255 - sheet.numpy(), cmap="gray", vmin=0, vmax=255)
    axes.set_yticks([16 + 30 * digit for digit in range(10)], [str(digit) for digit in range(10)])
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
    for column, (name, color) in enumerate([("training", TRAINING), ("test", TEST)]):
        for row, quantity in enumerate(["loss", "accuracy"]):
            axes = figure.add_subplot(2, 2, 2 * row + column + 1)
            values = [entry[f"{name}_{quantity}"] for entry in history]
            last = f"last epoch: {values[-1]:.4f}" if quantity == "loss" else f"{values[-1]:.2%}"
            axes.plot(epochs, values, "o-", color=color, markersize=3)
            axes.annotate(last, (1, 1), xycoords="axes fraction", ha="right", va="bottom")
            axes.set_title(f"{name} {quantity}".capitalize(), loc="left")
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
            if quantity == "loss":
                axes.set_yscale("log")
            else:
                axes.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=1))
    figure.supxlabel(
        "training: augmented images, weights of the moment; test: averaged weights", fontsize=9
    )
    return figure


def confusion_matrix(matrix: NDArray[np.int64]) -> Figure:
    """Counts [10, 10], true digit by row, predicted digit by column; mistakes are coloured."""
    mistakes = matrix.astype(float)
    np.fill_diagonal(mistakes, np.nan)
    figure = Figure(figsize=(6.4, 6))
    axes = figure.subplots()
    axes.imshow(mistakes, cmap="Oranges", vmin=0)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            weight = "bold" if row == column else "normal"
            axes.text(column, row, f"{count:,}", ha="center", va="center", weight=weight)
    axes.set_xticks(range(10))
    axes.set_yticks(range(10))
    axes.grid(False)
    axes.set_xlabel("predicted digit")
    axes.set_ylabel("true digit")
    total, right = int(matrix.sum()), int(np.trace(matrix))
    axes.set_title(f"{total - right} of {total:,} test images are misclassified")
    return figure


def misclassified_sheet(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    predictions: NDArray[np.int64],
    confidences: NDArray[np.float32],
    most: int = 100,
) -> Figure:
    """The given images [N, 28, 28], at most so many, each with truth, prediction and confidence."""
    shown, columns = min(len(images), most), 10
    rows = max(1, -(-shown // columns))
    figure = Figure(figsize=(10, 1.35 * rows + 0.7))
    for index in range(shown):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.imshow(images[index], cmap="gray_r", vmin=0, vmax=255)
        axes.set_title(
            f"{labels[index]} → {predictions[index]}  {confidences[index]:.0%}", fontsize=9
        )
        axes.axis("off")
    some = f"{shown} of the {len(images)}" if shown < len(images) else f"The {shown}"
    figure.suptitle(f"{some} misclassified test images: truth → prediction, confidence")
    return figure
