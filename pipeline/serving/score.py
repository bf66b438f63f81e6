"""python -m pipeline score: the digits of an input of any size, as a Parquet file.

A shard that has been scored is a file in OUTPUT.partial, whole or not there. Killed and started
again, it goes on with the shards that are missing; when none is, the output is put together. Who
scores a shard does not matter: all cores of this machine, one shard after the other, or those of a
Ray cluster (cluster.py), a shard for each core.
"""

import hashlib
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import filelock
import numpy as np
import pyarrow as pa
from pyarrow.parquet import ParquetFile, ParquetWriter, read_metadata
from tqdm import tqdm

from pipeline.errors import UserError
from pipeline.files import replacing
from pipeline.serving.classifier import Classifier
from pipeline.serving.shards import SHARD, Batch, Shards, open_shards

T = TypeVar("T")

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("digit", pa.int8()),  # null, as are the next two, where there is an error
        ("confidence", pa.float32()),
        ("probabilities", pa.list_(pa.float32())),  # ten
        ("error", pa.string()),
        ("model_sha256", pa.string()),
    ]
)
REPEATED = ["digit", "error", "model_sha256"]  # columns with few different values


def run(
    source: Path, output: Path, model: str, *, normalise: bool, cluster: str | None = None
) -> bool:
    """Score all images of `source` into `output`; False if some of them could not be read.

    `cluster`: the address of a Ray cluster that does the work, if it is not this machine.
    """
    if output.is_dir():
        raise UserError(f"{output} is a folder, not a file to be written")
    classifier = Classifier(model, threads=0 if cluster is None else 1)
    source = source.absolute()
    partial = output.absolute().with_name(f"{output.name}.partial")
    with _held(partial):
        shards = open_shards(source, partial, normalise=normalise)
        parts = partial / _digest(shards.fingerprint, classifier.sha256, normalise, SCHEMA, SHARD)
        for other in partial.iterdir():
            if other.is_dir() and other != parts:
                print("from the start: input, model or options are not as before", file=sys.stderr)
                shutil.rmtree(other)
        paths = [parts / f"{shard:06}.parquet" for shard in range(len(shards))]
        missing = {shard: path for shard, path in enumerate(paths) if not path.exists()}
        if cluster is None:
            scored = _score(shards, classifier, missing)
        else:
            from pipeline.serving.cluster import score_on_cluster

            parts.mkdir(exist_ok=True)
            scored = score_on_cluster(cluster, shards, classifier, missing, [source, parts])
        before = [path for shard, path in enumerate(paths) if shard not in missing]
        _show_progress(scored, shards.images, before)
        unread = _join(paths, partial / "joined.parquet")
        (partial / "joined.parquet").replace(output)
        shutil.rmtree(partial)
    print(f"{output}: {shards.images:,} images, {unread:,} of them could not be read")
    return unread == 0


def table(batch: Batch, classifier: Classifier) -> pa.Table:
    """The rows of the output for a batch of images."""
    digits, confidences, probabilities, _ = classifier.predict(batch.images)
    unread = np.array([error is not None for error in batch.errors])
    starts = np.arange(0, probabilities.size + 1, 10, dtype=np.int32)
    return pa.Table.from_arrays(
        [
            pa.array(batch.ids, pa.string()),
            pa.array(digits.astype(np.int8), mask=unread),
            pa.array(confidences, mask=unread),
            pa.ListArray.from_arrays(starts, probabilities.ravel(), mask=pa.array(unread)),
            pa.array(batch.errors, pa.string()),
            pa.array([classifier.sha256] * len(batch.ids), pa.string()),
        ],
        schema=SCHEMA,
    )


def score_shard(shards: Shards, shard: int, classifier: Classifier, path: Path) -> Iterator[int]:
    """Score a shard into the file `path`, whole or not at all; yields how many images are done."""
    with replacing(path) as temporary, _writer(temporary) as writer:
        batches = _ahead(shards.batches(shard))
        for rows in _ahead(table(batch, classifier) for batch in batches):
            writer.write_table(rows)
            yield len(rows)


def _writer(path: Path) -> ParquetWriter:
    return ParquetWriter(path, SCHEMA, use_dictionary=REPEATED)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder in the block, at whose end it goes if no shard was scored into it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "lock"
    try:
        with filelock.FileLock(lock, timeout=0):
            try:
                yield
            finally:
                if not any(folder.glob("*/[0-9]*.parquet")):  # nor one begun: .000001...
                    shutil.rmtree(folder, ignore_errors=True)
    except filelock.Timeout as taken:
        raise UserError(f"another process holds {folder}: wait for its end, or stop it") from taken


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _score(shards: Shards, classifier: Classifier, missing: dict[int, Path]) -> Iterator[int]:
    for shard, path in missing.items():
        yield from score_shard(shards, shard, classifier, path)


def _show_progress(scored: Iterator[int], images: int, before: list[Path]) -> None:
    """Let the images be scored, as many as `scored` says one after the other."""
    done = sum(read_metadata(path).num_rows for path in before)
    if done:
        print(f"{done:,} images were scored before", file=sys.stderr)
    with tqdm(total=images, initial=done, unit=" images", unit_scale=True, disable=None) as bar:
        for number in scored:
            bar.update(number)


def _join(paths: list[Path], output: Path) -> int:
    """Put the files of the shards together; how many images could not be read."""
    unread = 0
    with replacing(output) as temporary, _writer(temporary) as writer:
        for path in paths:
            with ParquetFile(path) as part:
                for rows in part.iter_batches(SHARD):
                    writer.write_batch(rows)
                    unread += rows["digit"].null_count
    return unread


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The items; each next one is made while one is used."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, items, None)
            yield item
