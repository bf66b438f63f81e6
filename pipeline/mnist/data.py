"""The files of MNIST as published: two sets, each of images and labels, gzip-compressed IDX."""

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
    """The training set and the test set. UserError names a file that is missing or broken."""
    return read_set(raw, "train"), read_set(raw, "t10k")


def read_set(raw: Path, prefix: str) -> LabelledImages:
    """Images, uint8 [N, H, W], and labels, uint8 [N], of the set whose files begin so."""
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
    """The array in a compressed IDX file; UserError unless it is whole and has these dimensions."""
    try:
        return idx.decode(gzip.decompress(existing(path, REPRO).read_bytes()), dimensions)
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{path} is corrupt: {error}; fetch it again with `dvc repro -f fetch`"
        ) from error
