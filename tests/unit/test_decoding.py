"""Picture files: every page is read despite other content, or the error says what the file is."""

import gzip
import io
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin

from pipeline.core import idx
from pipeline.pictures.decoding import decode_picture, decode_pictures
from tests.digits import Images, make_digits

GREY = 255 - np.pad(make_digits(8, seed=1)[0][7], ((10, 2), (0, 12)))  # a 7, [40, 40]


def saved(picture: Image.Image | NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(file, kind, **options)
    return file.getvalue()


def pages(*subfile_types: int) -> bytes:
    """A TIFF with pages of these NewSubfileTypes: a digit that moves down page by page."""
    file = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(file) as tiff:
        for n, subfile_type in enumerate(subfile_types):
            Image.fromarray(np.roll(GREY, n, 0)).save(tiff, "TIFF", tiffinfo={254: subfile_type})
            tiff.newFrame()
    return file.getvalue()


def exif(orientation: int, *tags: bytes) -> bytes:
    """EXIF data with an orientation and further raw entries of 12 bytes."""
    entries = [struct.pack("<HHIHH", 0x112, 3, 1, orientation, 0), *tags]
    return (
        b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    )


def chunk(kind: bytes, data: bytes, *, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def with_chunk(added: bytes) -> bytes:
    png = saved(GREY)
    place = png.index(b"IDAT") - 4
    return png[:place] + added + png[place:]


def test_every_page_of_a_tiff_is_read() -> None:
    found = decode_pictures(pages(0, 2, 0))
    np.testing.assert_array_equal(found, [np.roll(GREY, n, 0) for n in range(3)])
    with pytest.raises(ValueError, match="it holds 3 pages, not one"):
        decode_picture(pages(0, 2, 0))


def test_thumbnails_masks_and_further_frames_are_ignored() -> None:
    np.testing.assert_array_equal(decode_picture(pages(0, 1, 4)), GREY)
    np.testing.assert_array_equal(decode_picture(pages(1, 0)), np.roll(GREY, 1, 0))
    other = Image.fromarray(GREY[::-1])
    for kind in ("PNG", "MPO"):
        content = saved(Image.fromarray(GREY), kind, save_all=True, append_images=[other])
        (found,) = decode_pictures(content)
        np.testing.assert_allclose(found.astype(int), GREY, atol=40)  # JPEG artefacts


@pytest.mark.parametrize("kind", ["GIF", "WebP"])
def test_a_gif_or_webp_is_read_unless_it_has_several_frames(kind: str) -> None:
    """A frame of an animation may show only what changes."""
    options = {"lossless": True} if kind == "WebP" else {}
    np.testing.assert_array_equal(decode_picture(saved(GREY, kind, **options)), GREY)
    other = Image.fromarray(GREY[::-1])
    animation = saved(GREY, kind, save_all=True, append_images=[other])
    with pytest.raises(ValueError, match="it holds several frames"):
        decode_pictures(animation)


def test_a_gif_of_too_many_blocks_is_refused() -> None:
    """Pillow reads a block of one byte in a microsecond."""
    gif = saved(GREY, "GIF")
    comment = b"!\xfe" + 100_001 * b"\1c" + b"\0"
    palette = 13 + 3 * 2 ** (gif[10] % 8 + 1)
    with pytest.raises(ValueError, match="more than 100,000 blocks"):
        decode_picture(gif[:palette] + comment + gif[palette:])
    for junk in (bytes(50), b"!\xfe\4text\0;", b"\1" * 50):
        np.testing.assert_array_equal(decode_picture(gif.rstrip(b";") + junk), GREY)


def test_the_number_and_total_size_of_pages_are_limited() -> None:
    with pytest.raises(ValueError, match=r"its 3 pages .* 4,799 pixels"):
        decode_pictures(pages(0, 0, 0), 4799)
    assert len(decode_pictures(pages(0, 0, 0), 4800)) == 3
    tiny = Image.new("L", (8, 8))
    many = saved(tiny, "TIFF", save_all=True, append_images=[tiny] * 1000)
    with pytest.raises(ValueError, match="it holds more than 1,000 pages"):
        decode_picture(many)


@pytest.mark.parametrize("size", [(40, 40), (4000, 4000)])
def test_a_picture_with_exactly_the_permitted_pixels_is_read(size: tuple[int, int]) -> None:
    width, height = size
    content = saved(Image.new("1", size))
    assert decode_picture(content, width * height).shape == (height, width)
    with pytest.raises(ValueError, match=f"^{width} x {height} pixels"):
        decode_picture(content, width * height - 1)


INVALID_TAGS = {
    "text instead of a number": exif(6, struct.pack("<HHI4s", 0x11A, 2, 4, b"abc\0")),
    "a number out of range": exif(6, struct.pack("<HHII", 0x100, 3, 9, 0xFFFFFFFF)),
    "an offset beyond the end": exif(6, struct.pack("<HHII", 0x10F, 2, 1000, 0xFFFFFF)),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("name", INVALID_TAGS)
def test_a_photograph_is_rotated_despite_invalid_tags(kind: str, name: str) -> None:
    upright = np.rot90(GREY, -1)
    found = decode_picture(saved(GREY, kind, exif=INVALID_TAGS[name]))
    np.testing.assert_allclose(found.astype(int), upright, atol=40)


@pytest.mark.parametrize("orientation", range(10))
def test_a_photograph_is_read_upright(orientation: int) -> None:
    """Upside down, a 6 is a 9."""
    grey = GREY[:30]
    picture = Image.open(io.BytesIO(saved(grey, exif=exif(orientation))))
    upright = ImageOps.exif_transpose(picture)
    found = decode_picture(saved(grey, exif=exif(orientation)))
    np.testing.assert_array_equal(found, np.asarray(upright))
    assert np.array_equal(found, grey) is (orientation in {0, 1, 9})


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("data", [bytes(20), b"", exif(9), exif(6)[:-12]], ids=range(4))
def test_a_picture_with_a_damaged_orientation_is_read(kind: str, data: bytes) -> None:
    found = decode_picture(saved(GREY, kind, exif=b"Exif\0\0" + data.removeprefix(b"Exif\0\0")))
    assert found.shape == GREY.shape


@pytest.mark.parametrize(
    "added",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"tEXt", b"Comment\0of people", crc=1),
        chunk(b"iCCP", b"no profile"),
        chunk(b"eXIf", exif(6)[6:], crc=1),
        chunk(b"acTL", bytes(8)) + chunk(b"fcTL", bytes(3)),
    ],
    ids=["long comment", "wrong checksum", "profile", "EXIF", "animation"],
)
def test_damaged_metadata_does_not_affect_a_png(added: bytes) -> None:
    np.testing.assert_array_equal(decode_picture(with_chunk(added)), GREY)


def test_damaged_pixels_of_a_png_are_an_error() -> None:
    png = saved(GREY)
    place = png.index(b"IDAT") + 30
    with pytest.raises(ValueError, match=r".+"):
        decode_picture(png[:place] + b"\xaa\xaa" + png[place + 2 :])


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_end_mark_is_read_but_a_truncated_one_is_refused(progressive: bool) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
    whole = saved(noise, "JPEG", progressive=progressive)
    expected = decode_picture(whole)
    for cut in (whole[:-2], whole[:-1]):
        np.testing.assert_array_equal(decode_picture(cut), expected)
    for length in (len(whole) - 20, len(whole) * 3 // 4):
        with pytest.raises(ValueError, match="the picture is cut off"):
            decode_picture(whole[:length])


def test_a_jpeg_with_too_many_scans_is_refused_before_decoding() -> None:
    """Each scan costs as much time as the picture, and takes 31 bytes."""
    jpeg = saved(Image.new("L", (2000, 2000)), "JPEG", progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    hidden = b"\xff\x01" + 50 * scan  # TEM has no length: what follows it is not its content
    for scans in (300 * scan, 6 * hidden):
        with pytest.raises(ValueError, match="it is a JPEG of more than 100 scans"):
            decode_picture(jpeg[:-2] + scans + b"\xff\xd9")
    assert decode_picture(jpeg[:-2] + 50 * scan + b"\xff\xd9").shape == (2000, 2000)


def test_scan_marks_in_comments_and_trailing_data_do_not_count() -> None:
    jpeg = saved(GREY, "JPEG")
    comment = b"\xff\xfe" + struct.pack(">H", 802) + 400 * b"\xff\xda"
    attached = 400 * b"\xff\xda"  # after the picture, as phones append videos
    found = decode_picture(jpeg[:2] + comment + jpeg[2:] + attached)
    np.testing.assert_array_equal(found, decode_picture(jpeg))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_with_overlapping_directories_is_refused(order: str, big: bool) -> None:
    """A thousand directories that share 30,000 entries take half a minute."""
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}H", 43 if big else 42)
    head += struct.pack(f"{order}HHQ", 8, 0, 16) if big else struct.pack(f"{order}L", 8)
    count, entry = (f"{order}Q", 20) if big else (f"{order}H", 12)
    directory = struct.pack(count, 30_000) + bytes(30_000 * entry)
    link = struct.pack(f"{order}Q" if big else f"{order}L", len(head) + entry)
    tiff = bytearray(head + directory + link + bytes(2 * entry))
    struct.pack_into(count, tiff, len(head) + entry, 30_000)
    with pytest.raises(ValueError, match="the directories of the TIFF overlap"):
        decode_picture(bytes(tiff))


def test_a_tiff_with_a_page_cycle_is_read() -> None:
    tiff = saved(GREY, "TIFF")
    (place,) = struct.unpack_from("<L", tiff, 4)
    (entries,) = struct.unpack_from("<H", tiff, place)
    end = place + 2 + 12 * entries
    looped = tiff[:end] + struct.pack("<L", place) + tiff[end + 4 :]
    np.testing.assert_array_equal(decode_picture(looped), GREY)


def test_files_with_too_many_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 100,000 segments"):
        decode_picture(b"\xff\xd8" + 100_001 * b"\xff\xfe\0\2" + saved(GREY, "JPEG")[2:])
    with pytest.raises(ValueError, match="more than 100,000 chunks"):
        decode_picture(with_chunk(100_000 * chunk(b"tEXt", b"")))
    header = struct.pack("<IiiHHIIiiII", 40, 40, 40, 1, 8, 1, 0, 0, 0, 1, 1)
    bmp = b"BM" + struct.pack("<IHHI", 0, 0, 0, 58) + header + bytes(4) + bytes(1_100_000)
    with pytest.raises(ValueError, match="run-length encoded BMP"):
        decode_picture(bmp, 16_000_000)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_pixels_of_more_than_8_bits_are_scaled_by_bit_depth(kind: str, bits: int) -> None:
    values = np.rint(GREY * ((2**bits - 1) / 255)).astype(np.uint16)
    np.testing.assert_allclose(decode_picture(saved(values, kind)), GREY, atol=1)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_white_is_zero_tiff_is_inverted(dtype: type) -> None:
    values: NDArray[Any] = (255 - GREY).astype(dtype) * (
        257 if dtype is np.uint16 else dtype(1 / 255)
    )
    tiff = saved(values, "TIFF", tiffinfo={262: 0})
    assert TiffImagePlugin.TiffImageFile(io.BytesIO(tiff)).tag_v2[262] == 0
    np.testing.assert_allclose(decode_picture(tiff), GREY, atol=1)


def test_unsigned_32_bit_integers_keep_their_upper_half() -> None:
    values = GREY.astype(np.uint32) * (2**32 // 256)
    sample_format = struct.Struct("<HHII").pack
    tiff = saved(values.view(np.int32), "TIFF")
    assert sample_format(339, 3, 1, 2) in tiff
    tiff = tiff.replace(sample_format(339, 3, 1, 2), sample_format(339, 3, 1, 1))
    found = decode_picture(tiff)
    np.testing.assert_allclose(found, GREY * (255 / GREY.max()), atol=1)
    signed = saved(values.view(np.int32) >> 16, "TIFF")
    assert decode_picture(signed).min() == 0  # negative numbers


def test_an_infinite_pixel_does_not_make_the_others_black() -> None:
    values = (GREY / 255).astype(np.float32)
    values[0, 0] = np.inf
    np.testing.assert_allclose(decode_picture(saved(values, "TIFF"))[1:], GREY[1:], atol=1)


def test_the_lightness_of_lab_is_read() -> None:
    layers = [Image.fromarray(GREY), Image.new("L", (40, 40)), Image.new("L", (40, 40))]
    np.testing.assert_array_equal(decode_picture(saved(Image.merge("LAB", layers), "TIFF")), GREY)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("paper", [0, 255])
def test_a_transparent_colour_is_read_as_paper(mode: str, paper: int) -> None:
    """Otherwise antialiased ink gets an outline: light pixels on black, surrounded by white."""
    grey = GREY if paper else 255 - GREY
    key = paper if mode == "L" else (paper,) * 3
    content = saved(Image.fromarray(grey).convert(mode), transparency=key)
    np.testing.assert_array_equal(decode_picture(content), grey)


def test_not_a_number_is_read_as_black(recwarn: pytest.WarningsRecorder) -> None:
    values = np.full((20, 20), np.nan, np.float32)
    assert not decode_picture(saved(values, "TIFF")).any()
    assert not recwarn.list


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
@pytest.mark.parametrize("ink", [255, 0])
def test_ink_on_a_transparent_background_is_read(mode: str, ink: int) -> None:
    alpha = 255 - GREY
    layers = [Image.new("L", (40, 40), ink)] * (1 if mode == "LA" else 3)
    picture = Image.merge("LA" if mode == "LA" else "RGBA", (*layers, Image.fromarray(alpha)))
    found = decode_picture(saved(picture.quantize() if mode == "P" else picture))
    expected = alpha if ink else GREY
    np.testing.assert_allclose(found.astype(int), expected, atol=40 if mode == "P" else 1)


def test_a_fully_transparent_picture_is_white() -> None:
    assert (decode_picture(saved(Image.new("RGBA", (20, 30)))) == 255).all()


def test_transparent_margins_do_not_invert_dark_ink_on_light_paper() -> None:
    visible = np.zeros((40, 40), np.uint8)
    visible[5:-5, 5:-5] = 255
    picture = Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(visible)))
    assert decode_picture(saved(picture))[0, 0] == 255


PNG = saved(GREY)
FOREIGN: list[tuple[str, bytes]] = [
    ("it is empty", b""),
    ("it is PDF; .*PNG, JPEG, BMP, TIFF, WebP, GIF", b"%PDF-1.7\n"),
    ("it is HEIC; ", b"\0\0\0\x18ftypheic\0\0\0\0"),
    ("it is AVIF; ", b"\0\0\0\x1cftypavif\0\0\0\0"),
    ("it is IDX; ", idx.encode(make_digits(1, seed=1)[0])),
    ("it is gzip; ", gzip.compress(PNG)),
    ("it is a NumPy array; ", b"\x93NUMPY\x01\0"),
    ("it is Parquet; ", b"PAR1\x15\x04"),
    ("it is HTML, not the picture file itself; ", b"\n<!DOCTYPE html><html>"),
    ("it is SVG, not", b'<?xml version="1.0"?>\n<svg xmlns="">'),
    ("it is JSON, not", json.dumps({"image": "iVBO"}).encode()),
    ("it is base64, not", b"iVBORw0KGgoAAAANSUhEUgAAA"),
    ("it is base64, not", b"/9j/4AAQSkZJRgABAQAAAQAB"),
    ("it is a data: URL, not", b"data:image/png;base64,iVBORw0KGgo"),
    (
        r"it is a form with the file in it \(multipart\), not",
        b'--f00\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + PNG,
    ),
    ("it is the address of a file, not", b"https://example.org/digit.png\n"),
    (r"it is not a picture \(PNG, JPEG, BMP, TIFF, WebP, GIF\)", b"these are words"),
    (r"it is not a picture \(PNG, JPEG, BMP, TIFF, WebP, GIF\)", bytes(100)),
    ("it is a TIFF that is damaged", b"II*\0\x08\0\0\0\0\0"),
    ("it is a JPEG that is damaged", b"\xff\xd8\xff\xe0\0"),
    ("it is a WebP that is damaged", b"RIFF\0\1\0\0WEBPVP8?"),
    ("it is a GIF that is damaged", b"GIF8?a" + bytes(20)),
]


@pytest.mark.parametrize(("said", "content"), FOREIGN, ids=[said[6:20] for said, _ in FOREIGN])
def test_a_file_that_is_not_a_picture_is_identified(said: str, content: bytes) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        decode_pictures(content)


def test_a_binary_mask_is_read(ten: Images) -> None:
    mask = (ten[3] > 100).astype(np.uint8)
    np.testing.assert_array_equal(decode_picture(saved(mask)), 255 * mask)
