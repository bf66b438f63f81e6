"""Pictures and IDX files as what the model takes: uint8 [N, 28, 28], light ink on dark ground."""

import gzip
import io
import sys
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage

from pipeline.errors import UserError
from pipeline.files import existing
from pipeline.mnist import idx

Images = NDArray[np.uint8]
STDIN = Path("-")  # as people name it
SIDE, INK = 28, 20  # pixels: of the picture, and of the box that MNIST scales the ink to


def read_images(path: Path, *, normalise: bool = False) -> Images:
    """The image or images in a file, uint8 [N, 28, 28]. UserError if it cannot be used as such.

    `-` is a picture from standard input.
    """
    if path != STDIN and not path.is_file():
        raise UserError(f"{path}: no such file")
    if "idx3" in path.name or ".idx" in path.suffixes:
        images = _read_idx(path)
    else:
        images = _read_picture(path)[None]
    if images.size == 0:
        raise UserError(f"{path} holds no image")
    if normalise:
        images = np.stack([to_mnist_form(image) for image in images])
    if images.shape[1:] != (SIDE, SIDE):
        height, width = images.shape[1:]
        raise UserError(
            f"{path} is {width} x {height} pixels, not {SIDE} x {SIDE}; --normalise brings a "
            "picture into that form"
        )
    return images


def to_mnist_form(picture: Images) -> Images:
    """A picture [H, W] as MNIST was made: light ink on black, scaled to fit 20 x 20, its centre of
    mass in the middle of 28 x 28. A light background is inverted, a picture without ink is black.
    """
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    ink = picture.astype(np.float32)
    if np.median(border) > 127:
        ink = 255 - ink
    ink = np.clip(ink - np.percentile(ink, 10), 0, None)
    result = np.zeros((SIDE, SIDE), np.uint8)
    if ink.max() < 16:
        return result
    ink *= 255 / ink.max()
    rows, columns = (np.flatnonzero((ink > 32).any(axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = INK / max(ink.shape)
    size = [max(1, round(length * scale)) for length in ink.shape]
    small = Image.fromarray(ink.astype(np.uint8)).resize(
        (size[1], size[0]), Image.Resampling.LANCZOS
    )
    scaled = np.asarray(small)
    centre = ndimage.center_of_mass(scaled)
    top, left = (
        int(np.clip(round(SIDE / 2 - 0.5 - middle), 0, SIDE - length))
        for middle, length in zip(centre, size, strict=True)
    )
    result[top : top + size[0], left : left + size[1]] = scaled
    return result


def _read_idx(path: Path) -> Images:
    try:
        data = existing(path).read_bytes()
        return idx.decode(gzip.decompress(data) if path.suffix == ".gz" else data, 3)
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is no IDX file of images: {error}") from error


def _read_picture(path: Path) -> Images:
    source = io.BytesIO(sys.stdin.buffer.read()) if path == STDIN else path
    try:
        with Image.open(source) as image:
            return _grey(ImageOps.exif_transpose(image))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is no picture that can be read: {error}") from error


def _grey(image: Image.Image) -> Images:
    """A picture of any mode as 8-bit grey; what is transparent is white paper."""
    if image.mode.startswith("I"):  # 16 bits, which `convert` would cut off at 255
        return (np.asarray(image) // 257).astype(np.uint8)
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    return np.asarray(image.convert("L"))
