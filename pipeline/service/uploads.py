"""Reads picture files from request bodies; its errors say what was sent instead."""

import re

from pipeline.pictures.decoding import decode_picture
from pipeline.pictures.grey import Picture

ADVICE = "send the file itself as the body: curl --data-binary @FILE"
FORM = "application/x-www-form-urlencoded"  # curl sends it with --data-binary, too
BASE64 = rb"(iVBORw0KGgo|/9j/|Qk[0-9]|SUkq|TU0A|R0lGOD|UklGR)[\w+/=\s-]*"  # of a picture
JSON = rb'\s*([\[{"]|null\b)'
NAME = rb"@?[^\0-\x1f]{1,255}\.(png|jpe?g|bmp|tiff?|webp|gif)\s*"


def read_picture(content: bytes, content_type: str, max_pixels: int) -> Picture:
    """The picture in a body as grey [H, W]. ValueError if it is invalid or has too many pixels."""
    try:
        return decode_picture(content, max_pixels)
    except ValueError as error:
        kind = content_type.partition(";")[0].strip().lower()
        found = _recognise(content, kind)
        if found:
            raise ValueError(f"the body is {found}; {ADVICE}") from error
        raise


def _recognise(content: bytes, kind: str) -> str | None:
    """The kind of content, if it is one commonly sent instead of a picture."""
    if not content:
        return "empty"
    if kind == "multipart/form-data" or re.match(rb"--[^\r\n]+\r?\ncontent-", content, re.I):
        return "a form"
    if content[:5].lower() == b"data:":
        return "a data: URL"
    if re.fullmatch(BASE64, content):
        return "base64"
    if re.fullmatch(NAME, content, re.IGNORECASE):
        return "the name of a file"
    if re.match(JSON, content) or (kind.endswith("json") and content.isascii()):
        return "JSON"
    if kind == FORM and re.fullmatch(rb"[\w.%+-]+=[ -~]*", content):
        return "a form"
    if kind == FORM and not re.search(rb"[\0\r\n]", content):
        return "a file without its zero bytes and line breaks, which curl -d removes"
    return None
