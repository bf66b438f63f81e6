"""prepare: the IDX files, checked field by field, as one safetensors file per set."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from pipeline.config import Prepare
from pipeline.core import idx
from pipeline.core.errors import UserError
from pipeline.core.figures import save_figure
from pipeline.core.files import existing, write_bytes, write_csv
from pipeline.core.task import Task
from pipeline.core.workspace import Workspace
from pipeline.evaluation import figures


def run(workspace: Workspace, params: Prepare, task: Task) -> None:
    """Write both sets, a sheet of sample digits and the class counts."""
    train_images, train_labels = read_set(workspace, "train", params.training_images)
    test_images, test_labels = read_set(workspace, "t10k", params.test_images)
    write_bytes(workspace.training_set, save({"images": train_images, "labels": train_labels}))
    write_bytes(workspace.test_set, save({"images": test_images, "labels": test_labels}))

    sheet = figures.sample_sheet(train_images, train_labels)
    save_figure(sheet, workspace.prepare_reports / "digits.png")
    counts = [
        {
            "digit": digit,
            "training_images": int((train_labels == digit).sum()),
            "test_images": int((test_labels == digit).sum()),
        }
        for digit in range(10)
    ]
    write_csv(workspace.prepare_reports / "classes.csv", counts)
    print(f"{len(train_images):,} training and {len(test_images):,} test images, checked")


def read_set(
    workspace: Workspace, prefix: str, count: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images, uint8 [count, 28, 28], and labels, uint8 [count], of a set. UserError if not so."""
    images = read_idx(workspace.raw / f"{prefix}-images-idx3-ubyte.gz", (count, 28, 28))
    labels = read_idx(workspace.raw / f"{prefix}-labels-idx1-ubyte.gz", (count,))
    if labels.max() > 9:
        raise UserError(f"{prefix}-labels hold the label {labels.max()}; digits are 0 to 9")
    return images, labels


def read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The array in a gzip-compressed IDX file; UserError unless it is whole and of this shape."""
    try:
        array = idx.decode(gzip.decompress(existing(path).read_bytes()), len(shape))
        if array.shape != shape:
            raise ValueError(f"the shape is {array.shape}, not {shape}")
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{path} is corrupt: {error}; fetch it anew with `dvc repro -f fetch`"
        ) from error
    return array
