"""The interface of all readers: images in shards, with a fingerprint."""

import hashlib
import os
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Protocol

from pipeline.pictures.batch import Batch

BATCH = 8192  # images in memory at a time
SHARD = 2 * BATCH


class Shards(Protocol):
    """An input; its `fingerprint` changes when the input does."""

    fingerprint: str
    images: int  # in all shards

    def __len__(self) -> int:
        """The number of shards."""

    def batches(self, shard: int) -> Iterator[Batch]:
        """The images of a shard, in order. UserError if the input cannot be used."""


class ConcatenatedShards:
    """The shards of several inputs in sequence."""

    def __init__(self, inputs: Sequence[Shards]) -> None:
        self._inputs = inputs
        starts = list(accumulate((len(shards) for shards in inputs), initial=0))
        self._starts, self._shards = starts[:-1], starts[-1]
        self.images = sum(shards.images for shards in inputs)
        joined = " ".join(shards.fingerprint for shards in inputs)
        self.fingerprint = hashlib.sha256(joined.encode()).hexdigest()

    def __len__(self) -> int:
        return self._shards

    def batches(self, shard: int) -> Iterator[Batch]:
        """See Shards."""
        n = bisect(self._starts, shard) - 1
        return self._inputs[n].batches(shard - self._starts[n])


def fingerprint_of(files: Iterable[Path]) -> str:
    """A digest of the paths, sizes and modification times of files."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(os.fsencode(path))
        with suppress(OSError):  # an unreadable file is reported later
            about = path.stat()
            digest.update(f" {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()
