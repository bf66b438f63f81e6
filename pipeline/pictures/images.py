"""Images in a model's form: uint8 [N, H, W], light ink on a dark background."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.core.task import ImageForm
from pipeline.pictures.grey import Picture
from pipeline.pictures.marks import NotOneCharacter
from pipeline.pictures.normal_form import bring_into_form

Images = NDArray[np.uint8]
ROUNDING = 1e-6  # tolerance of floats from 0 to 1
MIN_SIDE, MAX_RATIO = 8, 10  # of a picture: pixels, and the longer side to the shorter


def as_images(images: ArrayLike, form: ImageForm) -> Images:
    """uint8 [N, H, W] of integers from 0 to 255 or floats from 0 to 1, else a ValueError."""
    array = np.asarray(images)
    if array.shape[1:] != form.shape:
        hint = "; one image is images[None]" if array.shape == form.shape else _hint(array, form)
        height, width = form.shape
        raise ValueError(
            f"images must have the shape [N, {height}, {width}], not {list(array.shape)}{hint}"
        )
    return as_pixels(array)


def as_pixels(array: NDArray[Any]) -> Images:
    """uint8 of integers from 0 to 255 or floats from 0 to 1, of any shape, else a ValueError."""
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"pixels must be integers or floats, not {array.dtype}")
    floats = array.dtype.kind == "f"
    least, most = (-ROUNDING, 1 + ROUNDING) if floats else (0, 255)
    if not ((array >= least) & (array <= most)).all():  # NaN fails, too
        scale = "floats from 0 to 1" if floats else "integers from 0 to 255"
        raise ValueError(
            f"pixels must be {scale}, but range from {array.min():g} to {array.max():g}"
            + ("; divide by 255?" if floats and 1 < array.max() <= 255 else "")
        )
    return (
        np.rint(255 * array.astype(np.float32).clip(0, 1)).astype(np.uint8)
        if floats
        else array.astype(np.uint8)
    )


def as_pictures(array: ArrayLike, form: ImageForm) -> Images:
    """uint8 [N, H, W] of an array of pictures of any size, or of one, [H, W], else a ValueError.

    [N, H, W, 1] and [N, 1, H, W] are accepted too. An array is rejected if its axes seem to mean
    something else: images as rows of pixels or stacked along the last axis, and pictures with a
    side of fewer than 8 pixels, or with one side more than 10 times the other.
    """
    pictures = np.asarray(array)
    shape = pictures.shape
    if pictures.ndim == 4 and 1 in (shape[1], shape[3]):
        pictures = pictures.reshape(shape[0], *(shape[2:] if shape[1] == 1 else shape[1:3]))
    elif pictures.ndim == 2 and shape[1] != form.pixels:
        pictures = pictures[None]
    if pictures.size == 0:
        raise ValueError("there is no image")
    if pictures.ndim != 3 or _channels_last(shape, form) or not _plausible(pictures, form):
        raise ValueError(
            "pictures must have the shape [N, H, W] or [H, W], not "
            f"{list(shape)}{_hint(pictures, form)}"
        )
    return as_pixels(pictures)


def _plausible(pictures: NDArray[Any], form: ImageForm) -> bool:
    short, long = sorted(pictures.shape[1:])
    in_form = pictures.shape[1:] == form.shape
    return in_form or (short >= MIN_SIDE and long <= MAX_RATIO * short)


def _channels_last(shape: tuple[int, ...], form: ImageForm) -> bool:
    """Whether images of the form are stacked along the last axis."""
    return len(shape) == 3 and shape[:2] == form.shape != shape[1:]


def _hint(array: NDArray[Any], form: ImageForm) -> str:
    if _channels_last(array.shape, form):  # up to four are the colours of a picture
        return "; np.moveaxis(images, -1, 0) may be what you need" if array.shape[2] > 4 else ""
    if array.size and array.size % form.pixels == 0:
        return f"; images.reshape(-1, {form.height}, {form.width}) may be what you need"
    return ""


def in_form(
    pictures: Sequence[Picture] | Picture,
    form: ImageForm,
    *,
    normalise: bool,
    option: str = "--normalise",
) -> Images:
    """Pictures [H, W] as uint8 [N, height, width] in the model's form, which they must have unless
    `normalise` converts them.

    ValueError if there are none, if they have another size, or if one has no ink; `option` names
    `normalise` in messages.
    """
    if len(pictures) == 0 or pictures[0].size == 0:
        raise ValueError("there is no image")
    if normalise:
        return np.stack([_normalised(pictures, n, form) for n in range(len(pictures))])
    for picture in pictures[:1] if isinstance(pictures, np.ndarray) else pictures:
        if picture.shape != form.shape:
            height, width = picture.shape
            raise ValueError(
                f"{height} x {width} pixels (height x width), not {form.height} x {form.width}; "
                f"{option} converts a picture to that form"
            )
    array: NDArray[Any] = np.asarray(pictures)
    return array if array.dtype == np.uint8 else np.rint(array).astype(np.uint8)


def dark_on_light(images: Images) -> str | None:
    """A warning if images [N, H, W] look like dark ink on light paper, which models misread."""
    height, width = images.shape[1:]
    corners = images[:, :: max(1, height - 1), :: max(1, width - 1)]
    if not (corners > 127).any():  # as for most images: the rest costs more
        return None
    rows, columns = images[:, [0, -1]], images[:, :, [0, -1]]
    border = np.concatenate([side.reshape(len(images), -1) for side in (rows, columns)], 1)
    half_light = border[(border > 127).mean(1) >= 0.5]  # the median of others is not light
    light = int((np.median(half_light, 1) > 127).sum())
    if light == 0:
        return None
    return (
        f"{light} of {len(images)} images look dark on light, but the model expects light ink on a "
        "dark background: normalise them"
    )


def _normalised(pictures: Sequence[Picture] | Picture, n: int, form: ImageForm) -> Images:
    try:
        return bring_into_form(pictures[n], form)
    except NotOneCharacter as error:
        if len(pictures) == 1:
            raise
        raise NotOneCharacter(error.verdict, f"image [{n}]: {error}") from error
