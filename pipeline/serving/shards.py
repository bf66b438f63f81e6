"""Large inputs, cut into shards: each can be read without the others, and is read in batches."""

import gzip
import hashlib
import mmap
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute
from pyarrow.parquet import ParquetFile

from pipeline.errors import UserError, first_line
from pipeline.files import replacing
from pipeline.mnist import idx
from pipeline.serving.images import SIDE, Images, as_pixels, in_form
from pipeline.serving.sources import (
    GZIP,
    IDX,
    NPY,
    decode_images,
    files_under,
)

PARQUET = b"PAR1"  # how such a file begins
BATCH = 8192  # images that are in memory together
FILES = 128  # files that are in memory together
SHARD = 2 * BATCH


class Batch(NamedTuple):
    """N images, what they are called, and what was wrong with some."""

    ids: list[str]
    images: Images  # [N, 28, 28]; one that could not be read is black
    errors: list[str | None]


class Shards(Protocol):
    """An input; its `fingerprint` is another one when it has changed."""

    fingerprint: str
    images: int  # in all shards

    def __len__(self) -> int:
        """How many shards there are."""

    def batches(self, shard: int) -> Iterator[Batch]:
        """The images of a shard, in their order. UserError if the input cannot be used."""


def open_shards(path: Path, scratch: Path, *, normalise: bool) -> Shards:
    """The images of an IDX, .npy or Parquet file, or of all files in a folder.

    What must be unpacked to be read from its middle goes to `scratch`. UserError if it has none.
    """
    if path.is_dir():
        return FileShards(path, normalise=normalise)
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder")
    file, fingerprint = path, _fingerprint([path])
    if _begins_with(path, GZIP):
        file = scratch / fingerprint
        if not file.exists():
            _unpack(path, file)
    if _begins_with(file, PARQUET):
        return ParquetShards(file, path.name, fingerprint, normalise=normalise)
    if _begins_with(file, NPY) or _begins_with(file, IDX):
        return ArrayShards(file, path.name, fingerprint, normalise=normalise)
    raise UserError(f"{path} is no IDX, .npy or Parquet file; for pictures, name their folder")


class ArrayShards:
    """An IDX or .npy file, mapped into memory for each batch anew, so that none stays there."""

    def __init__(self, file: Path, name: str, fingerprint: str, *, normalise: bool) -> None:
        self._file, self._name, self._normalise = file, name, normalise
        self.fingerprint = fingerprint
        array = self._mapped()
        if array.ndim != 3 or array.size == 0:
            raise UserError(f"{name} is an array {list(array.shape)}, not [N, {SIDE}, {SIDE}]")
        self.images = len(array)
        self._rows = max(1, min(BATCH, BATCH * SIDE**2 // array[0].nbytes))

    def __len__(self) -> int:
        return -(-self.images // SHARD)

    def batches(self, shard: int) -> Iterator[Batch]:
        """See Shards."""
        end = min((shard + 1) * SHARD, self.images)
        for start in range(shard * SHARD, end, self._rows):
            rows = range(start, min(start + self._rows, end))
            images = _in_form(
                np.array(self._mapped()[rows.start : rows.stop]),
                self._name,
                normalise=self._normalise,
            )
            yield Batch([f"{self._name}[{row}]" for row in rows], images, [None] * len(rows))

    def _mapped(self) -> NDArray[Any]:
        try:
            if _begins_with(self._file, NPY):
                array: NDArray[Any] = np.load(self._file, mmap_mode="r", allow_pickle=False)
                return array
            with self._file.open("rb") as file:
                return idx.decode(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), 3)
        except Exception as error:  # of NumPy, that have no common base
            raise UserError(f"{self._name} cannot be read: {first_line(error)}") from error


class ParquetShards:
    """A Parquet file with a column `image`, of files or of pixels, and perhaps one `id`.

    Its row groups are the shards. Files are bytes, also as `bytes` in the structs of Hugging Face's
    datasets; pixels are lists of 784 numbers, or of rows that are lists of numbers.
    """

    def __init__(self, file: Path, name: str, fingerprint: str, *, normalise: bool) -> None:
        self._file, self._name, self._normalise = file, name, normalise
        self.fingerprint = fingerprint
        with self._open() as parquet:
            schema = parquet.schema_arrow
            groups = [parquet.metadata.row_group(n) for n in range(parquet.num_row_groups)]
        if "image" not in schema.names:
            columns = ", ".join(schema.names)
            raise UserError(f"{name} has the columns {columns}, and none called image")
        self._columns = [column for column in ("image", "id") if column in schema.names]
        kind = schema.field("image").type
        pixels = pa.types.is_nested(kind) and not pa.types.is_struct(kind)
        self._rows = BATCH // 8 if pixels else FILES  # pixels come as 8 bytes
        *self._starts, self.images = accumulate((group.num_rows for group in groups), initial=0)
        if self.images == 0:
            raise UserError(f"{name} has no rows")

    def __len__(self) -> int:
        return len(self._starts)

    def batches(self, shard: int) -> Iterator[Batch]:
        """See Shards."""
        row = self._starts[shard]
        with self._open() as parquet:
            found = parquet.iter_batches(self._rows, row_groups=[shard], columns=self._columns)
            while (rows := self._checked(lambda: next(found, None))) is not None:
                ids = [f"{self._name}[{row + n}]" for n in range(len(rows))]
                if "id" in self._columns:
                    given = rows["id"].to_pylist()
                    ids = [
                        name if value is None else str(value)
                        for name, value in zip(ids, given, strict=True)
                    ]
                row += len(rows)
                yield self._batch(ids, rows["image"])

    def _open(self) -> ParquetFile:
        return self._checked(lambda: ParquetFile(self._file))

    def _checked(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self._name} cannot be read: {first_line(error)}") from error

    def _batch(self, ids: list[str], column: pa.Array) -> Batch:
        if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
            column = compute.struct_field(column, "bytes")
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            contents = column.to_pylist()
            return _batch(ids, map(partial(_decoded, normalise=self._normalise), ids, contents))
        pixels = _numbers(column, self._name)
        if pixels.shape[1:] == (SIDE**2,):
            pixels = pixels.reshape(-1, SIDE, SIDE)
        if pixels.ndim != 3:
            raise UserError(f"{self._name}: the images of column image are not [H, W]")
        return Batch(
            ids, _in_form(pixels, self._name, normalise=self._normalise), [None] * len(ids)
        )


class FileShards:
    """All files of images under a folder, with one image each."""

    def __init__(self, folder: Path, *, normalise: bool) -> None:
        self._folder, self._normalise = folder, normalise
        self._names = files_under(folder)
        self.fingerprint = _fingerprint(folder / name for name in self._names)
        self.images = len(self._names)

    def __len__(self) -> int:
        return -(-self.images // SHARD)

    def batches(self, shard: int) -> Iterator[Batch]:
        """See Shards."""
        names = self._names[shard * SHARD : (shard + 1) * SHARD]
        size = BATCH // 8  # decoding takes longer, and progress should be seen
        for start in range(0, len(names), size):
            some = names[start : start + size]
            yield _batch([_text(name) for name in some], map(self._read, some))

    def _read(self, name: str) -> Images | str:
        try:
            content = (self._folder / name).read_bytes()
        except OSError as error:
            return f"{name}: {error.strerror}"
        return _decoded(name, content, normalise=self._normalise)


def _batch(ids: list[str], found: Iterable[Images | str]) -> Batch:
    """A batch of images, or of what is wrong with them."""
    images = np.zeros((len(ids), SIDE, SIDE), np.uint8)
    errors: list[str | None] = [None] * len(ids)
    for n, image in enumerate(found):
        if isinstance(image, str):
            errors[n] = _text(image)
        else:
            images[n] = image
    return Batch(ids, images, errors)


def _text(name: str) -> str:
    """What can be written as UTF-8 of a name that was none."""
    return name.encode(errors="backslashreplace").decode()


def _decoded(name: str, content: bytes | None, *, normalise: bool) -> Images | str:
    """The image in a file, [28, 28], or what is wrong with it."""
    try:
        images = decode_images(content or b"", name, normalise=normalise)
    except UserError as error:
        return str(error)
    return images[0] if len(images) == 1 else f"{name} holds {len(images)} images, not one"


def _numbers(column: pa.Array, name: str) -> NDArray[Any]:
    """A column of lists, perhaps of lists, as an array. UserError if their lengths differ."""
    shape = [len(column)]
    while isinstance(column, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        lengths = compute.unique(compute.list_value_length(column)).to_pylist()
        if len(lengths) != 1 or lengths == [None]:
            raise UserError(f"{name}: the images of column image have different sizes")
        shape += lengths
        column = column.flatten()
    if column.null_count:
        raise UserError(f"{name}: images of column image lack pixels")
    array: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return array.reshape(shape)


def _in_form(array: NDArray[Any], name: str, *, normalise: bool) -> Images:
    try:
        return in_form(as_pixels(array), normalise=normalise)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error


def _begins_with(path: Path, sign: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(sign)) == sign


def _unpack(path: Path, target: Path) -> None:
    try:
        with (
            replacing(target) as temporary,
            gzip.open(path) as packed,
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(packed, file, 1 << 20)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be unpacked: {error}") from error


def _fingerprint(files: Iterable[Path]) -> str:
    """A digest of what files there are, how large they are and when they were last changed."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(os.fsencode(path))
        with suppress(OSError):  # what cannot be read is told later
            about = path.stat()
            digest.update(f" {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()
