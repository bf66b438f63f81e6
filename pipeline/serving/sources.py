"""Where images come from: pictures, IDX and .npy files, folders of them, standard input."""

import gzip
import io
import sys
from collections.abc import Iterable, Iterator
from glob import glob
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.errors import UserError, first_line
from pipeline.mnist import idx
from pipeline.serving.images import SIDE, Images, as_grey, as_pixels, to_mnist_form

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
            found = sorted(file for file in path.rglob("*") if file.is_file() and _named_so(file))
            if not found:
                raise UserError(f"{path} has no files of images, {', '.join(sorted(SUFFIXES))}")
        elif not path.exists() and any(sign in name for sign in "*?["):
            paths = map(Path, glob(name, recursive=True))  # noqa: PTH207 (Path's takes no absolute)
            found = sorted(path for path in paths if path.is_file())
            if not found:
                raise UserError(f"no file is named like {name}")
        else:
            found = [path]
        yield from found


def read_images(path: Path, *, normalise: bool = False) -> Images:
    """The image or images in a file, uint8 [N, 28, 28]. UserError if it cannot be used as such.

    What it is, is told by its content. `normalise` brings each into MNIST's form.
    """
    if path == STDIN:
        content = sys.stdin.buffer.read()
    elif path.is_file():
        content = path.read_bytes()
    else:
        raise UserError(f"{path}: no such file")
    try:
        images = _decode(content)
    except Exception as error:  # those of Pillow, NumPy and gzip have no other common base
        raise UserError(f"{path} cannot be read as images: {first_line(error)}") from error
    if images.size == 0:
        raise UserError(f"{path} holds no image")
    if normalise:
        return np.stack([to_mnist_form(image) for image in images])
    if images.shape[1:] != (SIDE, SIDE):
        height, width = images.shape[1:]
        raise UserError(
            f"{path} is {width} x {height} pixels, not {SIDE} x {SIDE}; --normalise brings a "
            "picture into that form"
        )
    return images


def _decode(content: bytes) -> Images:
    """uint8 [N, H, W]; some exception if that is not possible."""
    if content.startswith(GZIP):
        content = gzip.decompress(content)
    if content.startswith(IDX):
        return idx.decode(content, 3)
    if content.startswith(NPY):
        pixels = as_pixels(np.load(io.BytesIO(content), allow_pickle=False))
        if pixels.ndim not in (2, 3):
            raise ValueError(f"an array of images is [N, H, W] or [H, W], not {list(pixels.shape)}")
        return pixels.reshape(-1, *pixels.shape[-2:])
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return as_grey(picture)[None]
    except UnidentifiedImageError as error:
        raise ValueError("it is no picture, IDX or .npy file") from error


def _named_so(file: Path) -> bool:
    """Whether a file is one of images by its name; those of MNIST have none of the suffixes."""
    name = Path(file.name.lower().removesuffix(".gz"))
    return name.suffix in SUFFIXES or "idx3" in name.name
