"""The published MNIST files: images and labels of two sets, as gzip-compressed IDX."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core import idx
from pipeline.core.errors import UserError
from pipeline.core.files import REPRO, existing
from pipeline.core.task import LabelledImages


def read(raw: Path) -> tuple[LabelledImages, LabelledImages]:
    """Read the training set and the test set. Raises UserError if a file is missing or corrupt."""
    return read_set(raw, "train"), read_set(raw, "t10k")


def read_set(raw: Path, prefix: str) -> LabelledImages:
    """Read images, uint8 [N, H, W], and labels, uint8 [N]; `prefix` is `train` or `t10k`.

    Raises UserError if a file is missing or corrupt, or if the numbers of images and labels differ.
    """
    images = read_idx(raw / f"{prefix}-images-idx3-ubyte.gz", 3)
    labels_file = raw / f"{prefix}-labels-idx1-ubyte.gz"
    labels = read_idx(labels_file, 1)
    if len(labels) != len(images):
        raise UserError(
            f"{labels_file} is corrupt: it has {len(labels):,} labels for {len(images):,} images; "
            "fetch it again with `dvc repro -f fetch`"
        )
    return LabelledImages(images, labels)


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read a compressed IDX file with this number of dimensions.

    Raises UserError if the file is missing, corrupt or of another number of dimensions.
    """
    try:
        return idx.decode(gzip.decompress(existing(path, REPRO).read_bytes()), dimensions)
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{path} is corrupt: {error}; fetch it again with `dvc repro -f fetch`"
        ) from error
