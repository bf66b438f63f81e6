"""Images as the model takes them: uint8 [N, 28, 28], light ink on dark ground."""

import io
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from scipy import ndimage

from pipeline.errors import first_line

Images = NDArray[np.uint8]
FORMATS = ("PNG", "JPEG", "BMP", "TIFF")  # of pictures; no other decoder sees foreign bytes
SIDE, INK = 28, 20  # pixels: of an image, and of the box that MNIST scales the ink to


def as_images(images: ArrayLike) -> Images:
    """uint8 [N, 28, 28] of integers from 0 to 255 or floats from 0 to 1, else a ValueError."""
    array = np.asarray(images)
    if array.shape[1:] != (SIDE, SIDE):
        if array.shape == (SIDE, SIDE):
            hint = "; one image is images[None]"
        elif array.size and array.size % SIDE**2 == 0:
            hint = "; images.reshape(-1, 28, 28) may be what is meant"
        else:
            hint = ""
        raise ValueError(f"images have the shape [N, 28, 28], not {list(array.shape)}{hint}")
    return as_pixels(array)


def as_pixels(array: NDArray[Any]) -> Images:
    """uint8 of integers from 0 to 255 or floats from 0 to 1, of any shape, else a ValueError."""
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"pixels are integers or floats, not {array.dtype}")
    floats = array.dtype.kind == "f"
    if not ((array >= 0) & (array <= (1 if floats else 255))).all():  # no NaN is either
        scale = "floats from 0 to 1" if floats else "integers from 0 to 255"
        raise ValueError(
            f"pixels are {scale}, and these are from {array.min():g} to {array.max():g}"
            + ("; divide by 255?" if floats and 1 < array.max() <= 255 else "")
        )
    return (
        np.rint(255 * array.astype(np.float32)).astype(np.uint8)
        if floats
        else array.astype(np.uint8)
    )


def decode_picture(content: bytes, most_pixels: int | None = None) -> Images:
    """The content of a picture file as grey [H, W], else a ValueError, also for too many pixels."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            width, height = _unpacked_size(picture)
            if most_pixels is not None and width * height > most_pixels:
                raise ValueError(f"{width} x {height} pixels are more than {most_pixels:,}")
            return as_grey(picture)
    except UnidentifiedImageError as error:
        raise ValueError(f"it is no picture ({', '.join(FORMATS)})") from error
    except Exception as error:  # the decoders raise what they like
        raise ValueError(first_line(error)) from error


def _unpacked_size(picture: Image.Image) -> tuple[int, int]:
    """Width and height of what is unpacked at a time: in a TIFF, tiles may be the larger ones."""
    tags = getattr(picture, "tag_v2", {})
    tile = [
        int(tags.get(tag, 0)) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)
    ]
    return max(picture.width, tile[0]), max(picture.height, tile[1])


def as_grey(picture: Image.Image) -> Images:
    """A picture of any mode as grey [H, W], turned as it is looked at, on white paper."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode[0] in "IF":  # 16 or 32 bits, which `convert` would cut off at 255
        return _scaled(np.asarray(picture, np.float64))
    if picture.has_transparency_data:
        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture.convert("RGBA"))
    return np.asarray(picture.convert("L"))


def _scaled(values: NDArray[np.float64]) -> Images:
    """Numbers as pixels: of floats from 0 to 1, of 8, or of 16 bits, by the largest."""
    values = np.nan_to_num(values)
    top = next((top for top in (1, 255, 65535) if values.max() <= top), values.max())
    pixels: Images = np.rint(255 * np.clip(values / top, 0, 1)).astype(np.uint8)
    return pixels


def in_form(pictures: Images, *, normalise: bool) -> Images:
    """Pictures [N, H, W] as the model takes them: brought into MNIST's form, or so already.

    ValueError if they are of another size, or none.
    """
    if pictures.size == 0:
        raise ValueError("there is no image")
    if normalise:
        return np.stack([to_mnist_form(picture) for picture in pictures])
    if pictures.shape[1:] != (SIDE, SIDE):
        height, width = pictures.shape[1:]
        raise ValueError(
            f"{width} x {height} pixels are not {SIDE} x {SIDE}; `normalise` brings a picture "
            "into that form"
        )
    return pictures


def to_mnist_form(picture: Images) -> Images:
    """A picture [H, W] as MNIST was made, [28, 28]: light ink on black, scaled to fit 20 x 20, its
    centre of mass at (14, 14). A light background is inverted, a picture without ink is black.
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
    if not scaled.any():  # specks, far from each other
        return result
    centre = ndimage.center_of_mass(scaled)
    top, left = (
        int(np.clip(round(SIDE / 2 - middle), 0, SIDE - length))
        for middle, length in zip(centre, size, strict=True)
    )
    result[top : top + size[0], left : left + size[1]] = scaled
    return result
