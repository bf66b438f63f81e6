"""Picture files as bodies of requests, and what to say to those who send something else."""

import re

from pipeline.pictures.decoding import decode_picture
from pipeline.pictures.grey import Picture

HOW = "send the file itself as the body: curl --data-binary @FILE"
FORM = "application/x-www-form-urlencoded"  # which curl says of --data-binary, too
BASE64 = rb"(iVBORw0KGgo|/9j/|Qk[0-9]|SUkq|TU0A)[\w+/=\s-]*"  # the beginnings of pictures
JSON = rb'\s*([\[{"]|null\b)'
NAME = rb"@?[^\0-\x1f]{1,255}\.(png|jpe?g|bmp|tiff?)\s*"


def read_picture(content: bytes, content_type: str, most_pixels: int) -> Picture:
    """The picture in a body as grey [H, W]. ValueError if there is none, or too many pixels."""
    try:
        return decode_picture(content, most_pixels)
    except ValueError as error:
        kind = content_type.partition(";")[0].strip().lower()
        found = _what_it_is(content, kind)
        if found:
            raise ValueError(f"the body is {found}; {HOW}") from error
        raise


def _what_it_is(content: bytes, kind: str) -> str | None:
    """What a body is that is no picture, if it is what people send instead of one."""
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
        return "a file without its zero bytes and line breaks, which curl's -d leaves out"
    return None
