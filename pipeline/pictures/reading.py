"""Reads images from pictures, IDX and .npy files, also compressed, and from standard input."""

import io
import stat
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import psutil

from pipeline.core import idx
from pipeline.core.errors import UserError, first_line
from pipeline.core.task import ImageForm
from pipeline.pictures.batch import Batch, Pictures, batch_of
from pipeline.pictures.decoding import decode_pictures
from pipeline.pictures.grey import Picture
from pipeline.pictures.images import Images, as_pictures

STDIN = Path("-")
GZIP, NPY, PARQUET = b"\x1f\x8b", b"\x93NUMPY", b"PAR1"  # the first bytes of such files
IDX_TYPES = b"\x08\x09\x0b\x0c\x0d\x0e"  # in the third byte, after two zeros
CHUNK = 1 << 20  # bytes
NO_FILE = "is a pipe or a device, not a file"
TOO_LARGE = "too large for the free memory"


def read_images(path: Path, form: ImageForm, *, normalise: bool = False) -> Images:
    """The image or images in a file, uint8 [N, height, width]. UserError if one cannot be used.

    The content decides the type of the file. `normalise` converts each image to the form.
    """
    batch = read_batch(path, form, normalise=normalise)
    for error in filter(None, batch.errors):
        raise UserError(error)
    return batch.images


def read_batch(path: Path, form: ImageForm, *, normalise: bool, pipes: bool = True) -> Batch:
    """The image or images in a file, each under its name. UserError if none can be read.

    The names in an array, or in a picture with several pages, are PATH[0], PATH[1], ... Without
    `pipes`, a pipe is an error, since it may never deliver data.
    """
    name = str(path)
    content = _from_stdin() if path == STDIN else read_file(path, pipes=pipes)
    pictures = decode(content, name, form)
    ids = [f"{name}[{n}]" for n in range(len(pictures))] if len(pictures) > 1 else [name]
    batch = batch_of(ids, pictures, form, normalise=normalise)
    reasons = {(error or "").removeprefix(i) for i, error in zip(ids, batch.errors, strict=True)}
    if len(reasons) == 1 and not any(batch.verdicts) and (reason := reasons.pop()):
        raise UserError(f"{name}{reason}")
    return batch


def read_file(path: Path, *, pipes: bool = False) -> bytes:
    """The content of a file, or of a pipe if that is allowed. UserError if it cannot be read."""
    try:
        about = path.stat()
        kinds = {stat.S_IFREG, stat.S_IFDIR, *([stat.S_IFIFO] if pipes else [])}
        if stat.S_IFMT(about.st_mode) not in kinds:  # opening a folder gives its own error
            raise UserError(f"{path} {NO_FILE}")
        if about.st_size > CHUNK and about.st_size > _free_memory():
            raise UserError(f"{path} is {TOO_LARGE}")
        with path.open("rb") as file:
            return _all_of(file, str(path))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def decode(content: bytes, name: str, form: ImageForm) -> Pictures:
    """The pictures in the content of a file; errors call the file `name`.

    An array [N, H, W] of IDX or NumPy, else the pages [H, W] of a picture; UserError if neither.
    """
    if not content:
        raise UserError(f"{name} is empty")
    try:
        return _decode(content, form)
    except MemoryError as error:
        raise UserError(f"{name} is {TOO_LARGE}") from error
    except Exception as error:  # the errors of NumPy and zlib have no other common base
        raise UserError(f"{name} cannot be read as images: {first_line(error)}") from error


def one_picture(content: bytes, name: str, form: ImageForm) -> Picture:
    """The picture in the content of a file with exactly one, else a UserError."""
    pictures = decode(content, name, form)
    if len(pictures) != 1:
        kind = "images" if isinstance(pictures, np.ndarray) else "pages"
        raise UserError(f"{name} holds {len(pictures)} {kind}, not one")
    return pictures[0]


def is_idx(content: bytes) -> bool:
    """Whether a file that begins with this content is an IDX file."""
    return content[:2] == b"\0\0" and content[2:3] in IDX_TYPES and len(content) > 2


def decompress(file: BinaryIO) -> Iterator[bytes]:
    """The content of a .gz file in pieces; as gunzip does, ignores what follows its members.

    EOFError if it is truncated, zlib.error if it is damaged.
    """
    member, ended = zlib.decompressobj(wbits=31), False
    while piece := file.read(CHUNK):
        while piece:
            if ended and not GZIP.startswith(piece[:2]):
                return
            if ended:
                member, ended = zlib.decompressobj(wbits=31), False
            yield member.decompress(piece)
            piece, ended = member.unused_data, member.eof
    if not ended:
        raise EOFError("it ends too early")


def _decode(content: bytes, form: ImageForm) -> Pictures:
    if content.startswith(GZIP):
        content = b"".join(decompress(io.BytesIO(content)))
    if is_idx(content):
        return as_pictures(idx.decode(content, 3), form)
    if content.startswith(NPY):
        return as_pictures(np.load(io.BytesIO(content), allow_pickle=False), form)
    if content.startswith(PARQUET):
        raise ValueError("it is a Parquet file: use `score`")
    return decode_pictures(content)


def _from_stdin() -> bytes:
    if sys.stdin is None:
        raise UserError("standard input is closed")
    return _all_of(sys.stdin.buffer, "standard input")


def _all_of(file: BinaryIO, name: str) -> bytes:
    try:
        content = bytearray(file.read(CHUNK))
        if len(content) == CHUNK:  # there is always memory for less
            most = _free_memory()
            while piece := file.read(CHUNK):
                content += piece
                if len(content) > most:
                    raise MemoryError
        return bytes(content)
    except MemoryError as error:
        raise UserError(f"{name} is {TOO_LARGE}") from error


def _free_memory() -> int:
    return psutil.virtual_memory().available // 2  # bytes: content and pixels have to fit
