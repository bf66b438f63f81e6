"""Images in IDX and .npy files."""

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.batch.readers import shards
from pipeline.core import idx
from pipeline.core.errors import UserError, first_line
from pipeline.core.task import ImageForm
from pipeline.pictures.batch import Batch, batch_of, convert
from pipeline.pictures.images import Images, as_pictures, as_pixels
from pipeline.pictures.reading import NPY


class ArrayShards:
    """An IDX or .npy file, mapped into memory for one batch at a time, to keep memory use small."""

    def __init__(
        self, file: Path, name: str, fingerprint: str, form: ImageForm, *, normalise: bool
    ) -> None:
        self._file, self._name, self._form, self._normalise = file, name, form, normalise
        self.fingerprint = fingerprint
        array = self._mapped()
        try:  # a broadcast array takes no memory
            self._shape = as_pictures(np.broadcast_to(np.uint8(0), array.shape), form).shape
        except ValueError as error:
            raise UserError(f"{name} cannot be read as images: {error}") from error
        self.images = int(self._shape[0])
        bytes_each = array.itemsize * self._shape[1] * self._shape[2]
        self._rows = max(1, min(shards.BATCH, shards.BATCH * form.pixels // bytes_each))
        self._check_first_batch()

    def __len__(self) -> int:
        return -(-self.images // shards.SHARD)

    def batches(self, shard: int) -> Iterator[Batch]:
        """See Shards."""
        end = min((shard + 1) * shards.SHARD, self.images)
        for start in range(shard * shards.SHARD, end, self._rows):
            rows = range(start, min(start + self._rows, end))
            ids = [f"{self._name}[{row}]" for row in rows]
            pictures = self._pictures(ids, rows)
            yield batch_of(ids, pictures, self._form, normalise=self._normalise)

    def _check_first_batch(self) -> None:
        """UserError if no image can be used, such as pixels of another scale or size."""
        rows = range(min(self._rows, self.images))
        names = [self._name] * len(rows)
        pictures = self._pictures(names, rows)
        errors = [picture if isinstance(picture, str) else None for picture in pictures]
        if not self._normalise:
            errors = batch_of(names, pictures, self._form, normalise=False).errors
        if errors[0] and None not in errors:
            raise UserError(errors[0])

    def _pictures(self, ids: list[str], rows: range) -> Sequence[Images | str] | Images:
        array = self._mapped()
        some = np.array(array[None] if array.ndim == 2 else array[rows.start : rows.stop])
        return convert(ids, some.reshape(-1, *self._shape[1:]), as_pixels)

    def _mapped(self) -> NDArray[Any]:
        try:
            with self._file.open("rb") as file:
                if file.read(len(NPY)) != NPY:
                    return idx.decode(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), 3)
            array: NDArray[Any] = np.load(self._file, mmap_mode="r", allow_pickle=False)
            return array
        except Exception as error:  # NumPy's errors have no common base
            raise UserError(f"{self._name} cannot be read: {first_line(error)}") from error
