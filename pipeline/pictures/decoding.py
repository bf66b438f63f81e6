"""Decodes each page of a picture file to grey, or raises an error that says what the file is."""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from pipeline.core.errors import first_line
from pipeline.pictures.file_types import what_it_is
from pipeline.pictures.grey import Picture, as_grey

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WebP", "GIF")  # no other decoder sees untrusted bytes
MAX_PAGES = 1000
MAX_SCANS = 100  # of a JPEG: each costs as much as the picture; cameras use 1, the web 10
MAX_CHUNKS = 100_000  # of a PNG, segments of a JPEG, or blocks of a GIF
MAX_RUNS = 1 << 20  # bytes of a run-length encoded BMP: Pillow decodes it slowly
PNG, JPEG, GIF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8"
END_OF_JPEG = b"\xff\xd9"
PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}  # of a PNG
THUMBNAIL_OR_MASK = 1 | 4  # bits of TIFF's NewSubfileType

# Pillow warns about data other than the pixels, and only the pixels matter here.
warnings.filterwarnings("ignore", module="PIL")


class TooManyPixels(ValueError):  # noqa: N818 (the name says what is wrong)
    """A picture has more pixels than the caller allows."""


def decode_pictures(content: bytes, max_pixels: int | None = None) -> list[Picture]:
    """Every page of a picture file as grey [H, W], rotated as displayed, from 0 to 255.

    Pictures of up to 8 bits are uint8; those of more are float32, which preserves low contrast.
    Thumbnails, and frames of a PNG or a JPEG after the first, are not pages. ValueError if the
    content is not a picture, is damaged, is a GIF or WebP of several frames, or has more than
    `max_pixels` on all its pages together.
    """
    return _decode(content, max_pixels, MAX_PAGES)


def decode_picture(content: bytes, max_pixels: int | None = None) -> Picture:
    """The page of a picture file that has exactly one, else a ValueError."""
    return _decode(content, max_pixels, 1)[0]


def _decode(content: bytes, max_pixels: int | None, max_pages: int) -> list[Picture]:
    if not content:
        raise ValueError("it is empty")
    try:
        if content.startswith(JPEG):
            return [_decode_jpeg(content, max_pixels)]
        if content.startswith(PNG):
            content = _pixel_chunks(content)
        elif content.startswith(GIF):
            content = _gif_blocks(content)
        elif content.startswith((b"II", b"MM")):  # TIFF
            _check_directories(content)
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            if max_pixels is not None and _is_bmp_of_runs(picture) and len(content) > MAX_RUNS:
                raise ValueError("it is a run-length encoded BMP of more than 1 MiB; send a PNG")
            pages = _pages(picture)
            if len(pages) > max_pages:
                raise ValueError(f"it holds {len(pages)} pages, not one")
            sizes = []
            for page in pages:
                picture.seek(page)
                sizes.append(_unpacked_size(picture))
            _check_size(sizes, max_pixels)
            found = []
            for page in pages:
                picture.seek(page)
                found.append(as_grey(picture))
            return found
    except UnidentifiedImageError as error:
        raise ValueError(what_it_is(content, FORMATS)) from error
    except TooManyPixels:
        raise
    except Exception as error:  # decoders raise all kinds of exceptions
        raise ValueError(first_line(error)) from error


def _check_directories(tiff: bytes) -> None:
    """ValueError if the directories of a TIFF overlap: a few bytes could hold endless entries."""
    order = "<" if tiff.startswith(b"II") else ">"
    big = 43 in tiff[2:4]
    link, count, entry = (f"{order}Q", f"{order}Q", 20) if big else (f"{order}L", f"{order}H", 12)
    seen: set[int] = set()
    size = 0
    try:
        (place,) = struct.unpack_from(link, tiff, 8 if big else 4)
        while place and place not in seen and len(seen) <= MAX_PAGES:
            seen.add(place)
            entries = entry * struct.unpack_from(count, tiff, place)[0]
            size += entries
            if size > len(tiff):
                raise ValueError("the directories of the TIFF overlap")
            (place,) = struct.unpack_from(link, tiff, place + struct.calcsize(count) + entries)
    except struct.error:
        return  # it is truncated, which the decoder reports


def _pages(picture: Image.Image) -> list[int]:
    """The frames of a TIFF that are pages; of any other file, the only frame."""
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        if getattr(picture, "is_animated", False):
            raise ValueError("it holds several frames: save one of them as a PNG")
        return [0]
    frames = []
    for frame in range(MAX_PAGES + 1):
        try:
            picture.seek(frame)
        except EOFError:
            break
        if not int(picture.tag_v2.get(ExifTags.Base.NewSubfileType, 0)) & THUMBNAIL_OR_MASK:
            frames.append(frame)
    else:
        raise ValueError(f"it holds more than {MAX_PAGES:,} pages")
    return frames or [0]


def _is_bmp_of_runs(picture: Image.Image) -> bool:
    return picture.format == "BMP" and picture.info.get("compression") in (1, 2)


def _check_size(sizes: list[tuple[int, int]], max_pixels: int | None) -> None:
    if max_pixels is None or sum(width * height for width, height in sizes) <= max_pixels:
        return
    if len(sizes) == 1:
        raise TooManyPixels(
            f"{sizes[0][0]} x {sizes[0][1]} pixels exceed the limit of {max_pixels:,}"
        )
    raise TooManyPixels(f"its {len(sizes)} pages exceed the limit of {max_pixels:,} pixels")


def _unpacked_size(picture: Image.Image) -> tuple[int, int]:
    """Width and height of what is decoded at a time: a tile may be larger than its TIFF."""
    tags = getattr(picture, "tag_v2", {})
    tile = [
        int(tags.get(tag, 0)) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)
    ]
    return max(picture.width, tile[0]), max(picture.height, tile[1])


def _decode_jpeg(content: bytes, max_pixels: int | None) -> Picture:
    """The first picture of a JPEG, which may lack its end marker, but no pixels."""
    scans, ended = 0, False
    for segments, marker in enumerate(_markers(content)):
        scans += marker == 0xDA
        ended = marker == 0xD9
        if scans > MAX_SCANS:
            raise ValueError(f"it is a JPEG of more than {MAX_SCANS} scans")
        if segments > MAX_CHUNKS:
            raise ValueError(f"it is a JPEG of more than {MAX_CHUNKS:,} segments")

    def decode(content: bytes) -> Picture:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            _check_size([picture.size], max_pixels)
            return as_grey(picture)

    if ended or not scans:
        return decode(content)
    # libjpeg takes bytes that follow for missing pixels, and ignores them if none are missing.
    cut = content.rstrip(b"\xff")
    found, other = decode(cut + END_OF_JPEG), decode(cut + b"\x5a\xc3" * 64 + END_OF_JPEG)
    if not np.array_equal(found, other):
        raise ValueError("the picture is cut off")
    return found


def _markers(jpeg: bytes) -> Iterator[int]:
    """The markers of a JPEG's segments, up to its end marker."""
    place = 2
    while found := re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]").search(jpeg, place):
        marker = jpeg[found.start() + 1]
        yield marker
        if marker == END_OF_JPEG[1]:
            return
        place = found.end() + int.from_bytes(jpeg[found.end() : found.end() + 2])


def _pixel_chunks(png: bytes) -> bytes:
    """A PNG without the chunks that do not affect its pixels: text, animation, colour profiles.

    EXIF data is kept if it is intact.
    """
    parts, place = [PNG], len(PNG)
    for _ in range(MAX_CHUNKS):
        if place >= len(png):
            return b"".join(parts)
        kind, end = png[place + 4 : place + 8], place + 12 + int.from_bytes(png[place : place + 4])
        intact = zlib.crc32(png[place + 4 : end - 4]) == int.from_bytes(png[end - 4 : end])
        if kind in PIXEL_CHUNKS or (kind == b"eXIf" and intact) or kind[:1].isupper():
            parts.append(png[place:end])
        place = end
    raise ValueError(f"it is a PNG of more than {MAX_CHUNKS:,} chunks")


def _gif_blocks(gif: bytes) -> bytes:
    """A GIF up to the end of its last block; a ValueError if it has too many."""
    place, inside = 13 + _palette_size(gif[10:11]), False
    for _ in range(MAX_CHUNKS):
        kind = gif[place : place + 1]
        if inside:
            inside = kind > b"\0"
            place += 1 + (gif[place] if inside else 0)
        elif kind == b",":
            inside = True
            place += 11 + _palette_size(gif[place + 9 : place + 10])
        elif kind == b"!":
            inside = True
            place += 2
        else:
            return gif[:place]
    raise ValueError(f"it is a GIF of more than {MAX_CHUNKS:,} blocks")


def _palette_size(flags: bytes) -> int:
    """The bytes of a GIF's palette."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 128 else 0
