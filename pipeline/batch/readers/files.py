"""Files with one image each."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.batch.readers import shards
from pipeline.batch.readers.shards import fingerprint_of
from pipeline.core.errors import UserError
from pipeline.core.task import ImageForm
from pipeline.pictures.batch import Batch, batch_of
from pipeline.pictures.grey import Picture
from pipeline.pictures.reading import one_picture, read_file


class FileShards:
    """Files with one image each, by their names below a folder.

    `errors`: files that are known to be unusable, and why.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        errors: Mapping[str, str],
        form: ImageForm,
        *,
        normalise: bool,
    ) -> None:
        self._folder, self._names, self._errors = folder, names, errors
        self._form, self._normalise = form, normalise
        self.fingerprint = fingerprint_of(folder / name for name in names)
        self.images = len(names)

    def __len__(self) -> int:
        return -(-self.images // shards.SHARD)

    def batches(self, shard: int) -> Iterator[Batch]:
        """See Shards."""
        names = self._names[shard * shards.SHARD : (shard + 1) * shards.SHARD]
        size = shards.BATCH // 8  # decoding takes longer, and progress should show
        for start in range(0, len(names), size):
            some = names[start : start + size]
            pictures = [self._picture(name) for name in some]
            yield batch_of(list(some), pictures, self._form, normalise=self._normalise)

    def _picture(self, name: str) -> Picture | str:
        if name in self._errors:
            return self._errors[name]
        try:
            return one_picture(read_file(self._folder / name), name, self._form)
        except UserError as error:
            return str(error)
