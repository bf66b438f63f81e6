"""Converts a decoded picture to grey pixels from 0 to 255: upright, on paper, of any bit depth."""

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

Picture = NDArray[np.uint8] | NDArray[np.float32]  # grey [H, W], from 0 to 255
WHITE_IS_ZERO = 0  # TIFF's PhotometricInterpretation
UNSIGNED = 1  # TIFF's SampleFormat
ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def as_grey(picture: Image.Image) -> Picture:
    """A picture of any mode as grey [H, W], rotated as displayed, on paper.

    The paper under transparent pixels is white, or black if all visible ink is light. A colour
    marked as transparent counts as paper. More than 8 bits become float32.
    """
    tags = getattr(picture, "tag_v2", {})
    if picture.mode[0] in "IF":  # 16 or 32 bits, which `convert` would clip at 255
        bits = int(tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0])
        white_is_zero = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO
        pixels = np.asarray(_upright(picture))
        if picture.mode == "I" and tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0] == UNSIGNED:
            pixels = pixels.view(np.uint32)  # Pillow supports only signed ones
        values = pixels.astype(np.float32)
        return _scaled(values, bits, white_is_zero=white_is_zero)
    picture = _upright(picture)
    if picture.mode == "LAB":
        picture = picture.getchannel("L")
    if picture.has_transparency_data and picture.mode not in ("1", "L", "RGB"):
        picture = _on_paper(picture.convert("RGBA"))
    grey = np.asarray(picture.convert("L"))
    return 255 * grey if grey.max() == 1 else grey  # a mask


def _upright(picture: Image.Image) -> Image.Image:
    """The picture, rotated by its EXIF orientation; other tags may be damaged."""
    picture.load()
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # whatever the tag parser raises, the pixels are readable
        return picture
    rotation = ORIENTATIONS.get(orientation) if isinstance(orientation, int) else None
    return picture if rotation is None else picture.transpose(rotation)


def _on_paper(picture: Image.Image) -> Image.Image:
    """An RGBA picture on white paper, or on black paper if all its visible pixels are light."""
    grey, alpha = np.asarray(picture.convert("RGB").convert("L")), np.asarray(picture)[..., 3]
    visible = grey[alpha > 127]
    light = visible.size > 0 and np.percentile(visible, 1) > 127
    paper = Image.new("RGBA", picture.size, "black" if light else "white")
    return Image.alpha_composite(paper, picture)


def _scaled(values: NDArray[np.float32], bits: int, *, white_is_zero: bool) -> NDArray[np.float32]:
    """Scale floats from 0 to 1, or integers of 8 to 32 bits, to pixels from 0 to 255."""
    finite = values[np.isfinite(values)]
    highest = float(finite.max(initial=0))
    values = np.nan_to_num(values, posinf=highest)
    tops = [1, *(2**n - 1 for n in (8, 10, 12, 14, 16) if n >= bits or bits >= 16)]
    top = next((top for top in tops if highest <= top), highest)
    scaled = 255 * np.clip(values / top, 0, 1)
    pixels: NDArray[np.float32] = (255 - scaled if white_is_zero else scaled).astype(np.float32)
    return pixels
