"""Characters in the fonts that matplotlib brings, drawn as if by hand."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from pipeline.negatives.form import Ink, bent

DEJAVU = [
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSansMono-Bold"),
]
COMPUTER_MODERN = ["cmr10", "cmb10", "cmti10"]
TRAINING_FONTS = [*DEJAVU, *COMPUTER_MODERN]
HELD_OUT_FONTS = [
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmss10", "cmtt10"),
]
SIZE = 40  # pixels: height of the font
MARGIN = 10  # pixels: room to bend
TEX = set("#%+=@ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")


def hand_drawn(
    characters: Sequence[str], fonts: Sequence[str], random: np.random.Generator, *, unsteady: float
) -> Ink:
    """One of the characters in one of the fonts, bent, its strokes thickened by up to 3 pixels.

    `unsteady`: how much it is bent, 1 for training.
    """
    character = characters[int(random.integers(len(characters)))]
    able = [font for font in fonts if character in characters_of(font)]
    ink = glyph(character, able[random.integers(len(able))])
    pen = int(random.integers(1, 5))
    ink = bent(ink, random, bend=0.04 * unsteady, shear=0.3 * unsteady, stretch=0.25 * unsteady)
    thickened: Ink = ndimage.grey_dilation(ink, (pen, pen))
    return thickened


def drawable(characters: Sequence[str], fonts: Sequence[str]) -> list[str]:
    """The characters that at least one of the fonts has."""
    known = set().union(*map(characters_of, fonts))
    return [character for character in characters if character in known]


@cache
def characters_of(font: str) -> frozenset[str]:
    """The characters of a font; of TeX's fonts, those in the places of Unicode."""
    found = {chr(code) for code in FT2Font(str(_path(font))).get_charmap()}
    return frozenset(found & TEX if font.startswith("cm") else found)


@cache
def glyph(character: str, font: str) -> Ink:
    """A character [H, W] with a margin."""
    face = ImageFont.truetype(_path(font), SIZE)
    left, top, right, bottom = map(int, face.getbbox(character))
    picture = Image.new("L", (right - left + 2 * MARGIN, bottom - top + 2 * MARGIN))
    ImageDraw.Draw(picture).text((MARGIN - left, MARGIN - top), character, 255, face)
    return np.asarray(picture)


def _path(font: str) -> Path:
    return Path(matplotlib.get_data_path(), "fonts/ttf", f"{font}.ttf")
