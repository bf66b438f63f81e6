"""Recognises a file that is not a readable picture by its first bytes."""

import re

KINDS = [  # by the first bytes
    (rb"%PDF", "PDF"),
    (rb".{4}ftyp(heic|heix|heim|heis|hevc|mif1|msf1)", "HEIC"),
    (rb".{4}ftypavi[fs]", "AVIF"),
    (rb".{4}ftyp", "a video"),
    (rb"\xff\x0a|.{4}JXL ", "JPEG XL"),
    (rb".{4}jP  |\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"8BPS", "a Photoshop file"),
    (rb"\x00\x00[\x01\x02]\x00", "an icon"),
    (rb"\x1f\x8b", "gzip"),
    (rb"PK\x03\x04", "a ZIP archive"),
    (rb"\x93NUMPY", "a NumPy array"),
    (rb"PAR1", "Parquet"),
    (rb"\x00\x00[\x08-\x0e][\x01-\x04]", "IDX"),
]
SUPPORTED = [
    (rb"\x89PNG\r\n", "a PNG"),
    (rb"\xff\xd8\xff", "a JPEG"),
    (rb"BM.{4}\x00{4}", "a BMP"),
    (rb"II[*+]\x00|MM\x00[*+]", "a TIFF"),
    (rb"RIFF.{4}WEBP", "a WebP"),
    (rb"GIF8", "a GIF"),
]
TEXTS = [
    (rb"data:[\w/+.;=-]*,", "a data: URL"),
    (rb"--[^\r\n]{1,70}\r?\ncontent-disposition", "a form with the file in it (multipart)"),
    (rb"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!doctype svg[^>]*>\s*)?<svg", "SVG"),
    (rb"<(!doctype html|html|head|body)", "HTML"),
    (rb"<\?xml|<[a-z]", "XML"),
    (rb"[{\[]", "JSON"),
    (rb"(iVBORw0KGgo|/9j/|Qk[0-3]|SUkqA|TU0AK|R0lGOD|UklGR)[A-Za-z0-9+/\s]{8}", "base64"),
    (rb"https?://\S+\s*$", "the address of a file"),
    (rb"[\w.%+-]+=", "a form's fields"),
]


def what_it_is(content: bytes, formats: tuple[str, ...]) -> str:
    """Why content cannot be read in one of the formats: what it is, and what to do."""
    supported = f"the supported formats are {', '.join(formats)}"
    if not content:
        return "it is empty"
    for sign, kind in KINDS:
        if re.match(sign, content, re.DOTALL):
            return f"it is {kind}; {supported}"
    for sign, kind in SUPPORTED:
        if re.match(sign, content, re.DOTALL):
            return f"it is {kind} that is damaged or of an unsupported kind: save it again as a PNG"
    text = content[:2000].removeprefix(b"\xef\xbb\xbf").lstrip()
    for sign, kind in TEXTS:
        if re.match(sign, text, re.DOTALL | (0 if kind == "base64" else re.IGNORECASE)):
            return f"it is {kind}, not the picture file itself; {supported}"
    return f"it is not a picture ({', '.join(formats)})"
