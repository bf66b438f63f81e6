"""Images in a column of a Parquet file, as files or as pixels."""

from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute, types
from pyarrow.parquet import ParquetFile

from pipeline.core.errors import UserError, first_line
from pipeline.core.task import ImageForm
from pipeline.pictures.batch import Batch, Pictures, batch_of, convert
from pipeline.pictures.grey import Picture
from pipeline.pictures.images import Images, as_pictures
from pipeline.pictures.reading import one_picture

PIXELS = 1024  # images in memory at a time, as pixels of up to 8 bytes
FILES = 128  # files in memory at a time
SHOWN = 8  # column names in an error


class ParquetShards:
    """A Parquet file with a column `image`, of files or of pixels, and optionally one `id`.

    Its row groups are the shards. Files are bytes, or structs with a field `bytes`, as in Hugging
    Face's datasets. Pixels are tensors, lists of rows, or all pixels of an image in one list or
    byte string.
    """

    def __init__(
        self, file: Path, name: str, fingerprint: str, form: ImageForm, *, normalise: bool
    ) -> None:
        self._file, self._name, self._form, self._normalise = file, name, form, normalise
        self.fingerprint = fingerprint
        with self._open() as parquet:
            schema = parquet.schema_arrow
            groups = [parquet.metadata.row_group(n) for n in range(parquet.num_row_groups)]
        if schema.names.count("image") != 1:
            columns = ", ".join(schema.names[:SHOWN]) or "(none)"
            more = f", ... ({len(schema.names):,} in all)" if len(schema.names) > SHOWN else ""
            how_many = "several are" if "image" in schema.names else "none is"
            raise UserError(f"{name} has the columns {columns}{more}, but {how_many} called image")
        if schema.names.count("id") > 1:
            raise UserError(f"{name} has several columns called id")
        self._columns = [column for column in ("image", "id") if column in schema.names]
        kind = schema.field("image").type
        self._are_files = _are_files(kind, form)
        if not self._are_files and not _are_pixels(kind):
            raise UserError(
                f"{name}: the column image is of the type {kind}; it must hold files, as bytes, or "
                "pixels, as lists of numbers"
            )
        self._rows = FILES if self._are_files else PIXELS
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
                    given = _values(rows["id"])
                    ids = [
                        name if value is None else str(value)
                        for name, value in zip(ids, given, strict=True)
                    ]
                row += len(rows)
                pictures = self._pictures(ids, rows["image"])
                yield batch_of(ids, pictures, self._form, normalise=self._normalise)

    def _pictures(self, ids: list[str], column: pa.Array) -> Pictures | list[Any]:
        if self._are_files:
            rows = zip(ids, column.to_pylist(), strict=True)
            return [_in_file(name, value, self._form) for name, value in rows]
        return convert(ids, column, lambda rows: _pixels(rows, self._form))

    def _open(self) -> ParquetFile:
        return self._checked(lambda: ParquetFile(self._file.open("rb")))

    def _checked(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self._name} cannot be read: {first_line(error)}") from error


def _values(column: pa.Array) -> list[Any]:
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):  # times that Python cannot hold
        return list(column.cast(pa.int64()).to_pylist())


def _in_file(name: str, value: Any, form: ImageForm) -> Picture | str:
    """The picture in a row that holds a file, or an error."""
    row = value if isinstance(value, dict) else {"bytes": value}
    content, path = row["bytes"], row.get("path")
    if content is None:
        return (
            f"{name} has the path {path} but no bytes: store the file's bytes"
            if path
            else f"{name}: the row is null"
        )
    try:
        return one_picture(content, name, form)
    except UserError as error:
        return str(error)


def _pixels(column: pa.Array, form: ImageForm) -> Images:
    """uint8 [N, H, W] of a column of pixels; ValueError if a row has none."""
    if column.null_count:
        raise ValueError("the row is null")
    if isinstance(column, pa.FixedShapeTensorArray):
        array = column.to_numpy_ndarray()
    elif types.is_fixed_size_binary(column.type):
        array = np.frombuffer(b"".join(column.to_pylist()), np.uint8).reshape(len(column), -1)
    else:
        array = _numbers(column)
    if array.ndim == 2:
        if array.shape[1] != form.pixels:
            raise ValueError(f"{array.shape[1]} pixels, not {form.height} x {form.width}")
        array = array.reshape(-1, *form.shape)
    return as_pictures(array, form)


def _numbers(column: pa.Array) -> NDArray[Any]:
    """A column of (nested) lists as an array. ValueError if their lengths differ."""
    shape = [len(column)]
    while _is_list(column.type):
        if _is_view(column.type):
            column = pa.array(column.to_pylist(), pa.large_list(column.type.value_type))
        lengths = compute.unique(compute.list_value_length(column)).to_pylist()
        if len(lengths) != 1 or lengths == [None]:
            raise ValueError("its lists have different lengths")
        shape += lengths
        column = column.flatten()
    if column.null_count:
        raise ValueError("pixels are missing")
    array: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return array.reshape(shape)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if types.is_dictionary(kind) else kind


def _are_files(kind: pa.DataType, form: ImageForm) -> bool:
    """Whether values of a type are files, alone or in a struct, and not one byte per pixel."""
    kind = _plain(kind)
    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = _plain(kind.field("bytes").type)
    if types.is_fixed_size_binary(kind):
        return bool(kind.byte_width != form.pixels)
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _are_pixels(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.FixedShapeTensorType) or types.is_fixed_size_binary(kind):
        return True
    if not _is_list(kind):
        return False
    while _is_list(kind):
        kind = kind.value_type
    return bool(types.is_integer(kind) or types.is_floating(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or _is_view(kind)
    )


def _is_view(kind: pa.DataType) -> bool:
    return bool(types.is_list_view(kind) or types.is_large_list_view(kind))
