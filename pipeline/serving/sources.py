"""Where images come from: pictures, IDX and .npy files, folders of them, standard input."""

import gzip
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from glob import glob
from pathlib import Path

import numpy as np

from pipeline.errors import UserError, first_line
from pipeline.mnist import idx
from pipeline.serving.images import (
    Images,
    Picture,
    as_pictures,
    decode_pictures,
    in_form,
)

STDIN = Path("-")  # as people name it
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".idx", ".npy"}  # also with .gz
GZIP, NPY, IDX = b"\x1f\x8b", b"\x93NUMPY", b"\0\0\x08"  # how such files begin


def find_files(names: Iterable[str]) -> Iterator[Path]:
    """The files that are meant: by name, by pattern (`scans/**/*.png`), or all those of images
    under a folder. UserError if there are none.
    """
    for name in names:
        path = Path(name)
        if path.is_dir():
            found = [path / file for file in files_under(path)]
        elif not path.exists() and any(sign in name for sign in "*?["):
            paths = map(Path, glob(name, recursive=True))  # noqa: PTH207 (Path's takes no absolute)
            found = sorted(path for path in paths if path.is_file())
            if not found:
                raise UserError(f"no file is named like {name}")
        else:
            found = [path]
        yield from found


def files_under(folder: Path) -> list[str]:
    """The files of images in a folder tree, sorted, relative to it. UserError if there are none."""
    found = [
        str(Path(parent, name).relative_to(folder))
        for parent, _, names in os.walk(folder)
        for name in names
        if _named_so(name)
    ]
    if not found:
        raise UserError(f"{folder} has no files of images, {', '.join(sorted(SUFFIXES))}")
    return sorted(found)


def read_images(path: Path, *, normalise: bool = False) -> Images:
    """The image or images in a file, uint8 [N, 28, 28]. UserError if it cannot be used as such.

    What it is, is told by its content. `normalise` brings each into MNIST's form.
    """
    try:
        content = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    return decode_images(content, str(path), normalise=normalise)


def decode_images(content: bytes, name: str, *, normalise: bool) -> Images:
    """The same for the content of a file, which an error calls `name`."""
    try:
        return in_form(_decode(content), normalise=normalise)
    except Exception as error:  # those of NumPy and gzip have no other common base
        raise UserError(f"{name} cannot be read as images: {first_line(error)}") from error


def _decode(content: bytes) -> Sequence[Picture] | Picture:
    """Pictures [N, H, W], or each of its own size; some exception if that is not possible."""
    if content.startswith(GZIP):
        content = gzip.decompress(content)
    if content.startswith(IDX):
        return as_pictures(idx.decode(content, 3))
    if content.startswith(NPY):
        return as_pictures(np.load(io.BytesIO(content), allow_pickle=False))
    return decode_pictures(content)


def _named_so(name: str) -> bool:
    """Whether a file is one of images by its name; those of MNIST have none of the suffixes."""
    path = Path(name.lower().removesuffix(".gz"))
    return path.suffix in SUFFIXES or "idx3" in path.name
