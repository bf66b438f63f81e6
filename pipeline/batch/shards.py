"""Large inputs, cut into shards: each can be read without the others, and is read in batches."""

import hashlib
import mmap
import os
import zlib
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.batch.finding import is_array
from pipeline.batch.parquet import ParquetShards
from pipeline.core import idx
from pipeline.core.errors import UserError, first_line
from pipeline.core.files import replacing
from pipeline.pictures.batch import Batch, batch_of, convert
from pipeline.pictures.images import SIDE, Images, Picture, as_pictures, as_pixels
from pipeline.pictures.sources import (
    GZIP,
    NO_FILE,
    NPY,
    PARQUET,
    is_idx,
    one_picture,
    read_file,
    unpacked,
)

BATCH = 8192  # images that are in memory together
SHARD = 2 * BATCH


class Shards(Protocol):
    """An input; its `fingerprint` is another one when it has changed."""

    fingerprint: str
    images: int  # in all shards

    def __len__(self) -> int:
        """How many shards there are."""

    def batches(self, shard: int) -> Iterator[Batch]:
        """The images of a shard, in their order. UserError if the input cannot be used."""


def open_shards(
    names: Sequence[str | Path], files: Sequence[str], scratch: Path, *, normalise: bool
) -> Shards:
    """The images of the files that were found under these names.

    A single file is used, or a UserError says why not; of several, those that cannot be used are
    images with an error. What must be unpacked to be read from its middle goes to `scratch`.
    """
    in_folder = len(names) == 1 and Path(names[0]).is_dir()
    folder = Path(names[0]) if in_folder else Path()
    if len(files) == 1 and Path(files[0]) == Path(names[0]):
        path = Path(files[0]).absolute()
        if not path.exists():
            raise UserError(f"{files[0]}: no such file or folder")
        alone = open_array(path, path.name, scratch, normalise=normalise)
        if alone is None and is_array(path.name):
            raise UserError(f"{files[0]} is no IDX, .npy or Parquet file")
        return alone or FileShards(path.parent, [path.name], {}, normalise=normalise)
    parts, pictures, errors = list[Shards](), list[str](), dict[str, str]()
    to_files = partial(FileShards, folder.absolute(), errors=errors, normalise=normalise)
    for file in files:
        name = str(Path(file).relative_to(folder)) if in_folder else file
        array = None
        if is_array(name):
            try:
                array = open_array(folder.absolute() / name, name, scratch, normalise=normalise)
            except UserError as error:
                errors[name] = str(error)
        if array is None or (array.images == 1 and isinstance(array, ArrayShards)):
            pictures.append(name)
            continue
        if pictures:
            parts.append(to_files(pictures))
        parts.append(array)
        pictures = []
    if pictures:
        parts.append(to_files(pictures))
    return Joined(parts)


def open_array(path: Path, name: str, scratch: Path, *, normalise: bool) -> Shards | None:
    """The images of an IDX, .npy or Parquet file, packed or not; None of another file."""
    try:
        file, fingerprint = path, fingerprint_of([path])
        if not path.is_file():
            raise UserError(f"{path} {NO_FILE}: save it as one first")
        if _beginning(path).startswith(GZIP):
            file = scratch / fingerprint
            if not file.exists():
                _unpack(path, file)
        beginning = _beginning(file)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if beginning.startswith(PARQUET):
        return ParquetShards(file, name, fingerprint, normalise=normalise)
    if beginning.startswith(NPY) or is_idx(beginning):
        return ArrayShards(file, name, fingerprint, normalise=normalise)
    return None


class Joined:
    """The shards of several inputs, one after the other."""

    def __init__(self, parts: Sequence[Shards]) -> None:
        self._parts = parts
        starts = list(accumulate((len(part) for part in parts), initial=0))
        self._starts, self._shards = starts[:-1], starts[-1]
        self.images = sum(part.images for part in parts)
        joined = " ".join(part.fingerprint for part in parts)
        self.fingerprint = hashlib.sha256(joined.encode()).hexdigest()

    def __len__(self) -> int:
        return self._shards

    def batches(self, shard: int) -> Iterator[Batch]:
        """See Shards."""
        part = bisect(self._starts, shard) - 1
        return self._parts[part].batches(shard - self._starts[part])


class ArrayShards:
    """An IDX or .npy file, mapped into memory for each batch anew, so that none stays there."""

    def __init__(self, file: Path, name: str, fingerprint: str, *, normalise: bool) -> None:
        self._file, self._name, self._normalise = file, name, normalise
        self.fingerprint = fingerprint
        array = self._mapped()
        try:  # the shape, of an array that takes no memory
            self._shape = as_pictures(np.broadcast_to(np.uint8(0), array.shape)).shape
        except ValueError as error:
            raise UserError(f"{name} cannot be read as images: {error}") from error
        self.images = int(self._shape[0])
        bytes_each = array.itemsize * self._shape[1] * self._shape[2]
        self._rows = max(1, min(BATCH, BATCH * SIDE**2 // bytes_each))
        first = range(min(self._rows, self.images))
        pictures = self._pictures([name] * len(first), first)
        errors = [picture if isinstance(picture, str) else None for picture in pictures]
        if not normalise:
            errors = batch_of([name] * len(first), pictures, normalise=False).errors
        if errors[0] and None not in errors:  # of another scale or size
            raise UserError(errors[0])

    def __len__(self) -> int:
        return -(-self.images // SHARD)

    def batches(self, shard: int) -> Iterator[Batch]:
        """See Shards."""
        end = min((shard + 1) * SHARD, self.images)
        for start in range(shard * SHARD, end, self._rows):
            rows = range(start, min(start + self._rows, end))
            ids = [f"{self._name}[{row}]" for row in rows]
            yield batch_of(ids, self._pictures(ids, rows), normalise=self._normalise)

    def _pictures(self, ids: list[str], rows: range) -> Sequence[Images | str] | Images:
        array = self._mapped()
        some = np.array(array[None] if array.ndim == 2 else array[rows.start : rows.stop])
        return convert(ids, some.reshape(-1, *self._shape[1:]), as_pixels)

    def _mapped(self) -> NDArray[Any]:
        try:
            if _beginning(self._file).startswith(NPY):
                array: NDArray[Any] = np.load(self._file, mmap_mode="r", allow_pickle=False)
                return array
            with self._file.open("rb") as file:
                return idx.decode(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), 3)
        except Exception as error:  # of NumPy, that have no common base
            raise UserError(f"{self._name} cannot be read: {first_line(error)}") from error


class FileShards:
    """Files with one image each, under their names below a folder."""

    def __init__(
        self, folder: Path, names: list[str], errors: dict[str, str], *, normalise: bool
    ) -> None:
        self._folder, self._names, self._normalise = folder, names, normalise
        self._errors = errors  # what is wrong with some, by name
        self.fingerprint = fingerprint_of(folder / name for name in names)
        self.images = len(names)

    def __len__(self) -> int:
        return -(-self.images // SHARD)

    def batches(self, shard: int) -> Iterator[Batch]:
        """See Shards."""
        names = self._names[shard * SHARD : (shard + 1) * SHARD]
        size = BATCH // 8  # decoding takes longer, and progress should be seen
        for start in range(0, len(names), size):
            some = names[start : start + size]
            yield batch_of(some, list(map(self._picture, some)), normalise=self._normalise)

    def _picture(self, name: str) -> Picture | str:
        if name in self._errors:
            return self._errors[name]
        try:
            return one_picture(read_file(self._folder / name), name)
        except UserError as error:
            return str(error)


def fingerprint_of(files: Iterable[Path]) -> str:
    """A digest of what files there are, how large they are and when they were last changed."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(os.fsencode(path))
        with suppress(OSError):  # what cannot be read is told later
            about = path.stat()
            digest.update(f" {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _unpack(path: Path, target: Path) -> None:
    try:
        with (
            replacing(target) as temporary,
            path.open("rb") as packed,
            temporary.open("wb") as file,
        ):
            file.writelines(unpacked(packed))
    except (EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be unpacked: {error}") from error
