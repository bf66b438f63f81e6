"""Scoring one shard into a file, on this machine or on a machine of a cluster."""

from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow.parquet import ParquetWriter

from pipeline.batch.output import as_text
from pipeline.batch.readers.shards import Shards
from pipeline.core.files import replacing
from pipeline.inference.classifier import Classifier, Predictions
from pipeline.inference.fields import class_fields
from pipeline.inference.signature import Signature
from pipeline.pictures.batch import Batch

T = TypeVar("T")

PATIENCE = 5  # seconds for a thread to end when the process stops


def schema_of(signature: Signature) -> pa.Schema:
    """The columns of the output. In a row with an error, label to probabilities are null.

    If reading a picture gives the verdict, all of these but the verdict are null.
    """
    return pa.schema(
        [
            ("id", pa.string()),
            *_class_columns(signature),
            ("confidence", pa.float32()),
            ("set", pa.list_(pa.string())),  # the most probable label first
            ("novelty", pa.float32()),
            ("verdict", pa.string()),
            ("probabilities", pa.list_(pa.float32())),  # of all classes, in order
            ("error", pa.string()),
            ("model_sha256", pa.string()),
        ]
    )


def score_shard(shards: Shards, shard: int, classifier: Classifier, path: Path) -> Iterator[int]:
    """Score a shard into the file `path`, completely or not at all; yields numbers of images."""
    with (
        replacing(path) as temporary,
        temporary.open("wb") as file,
        open_writer(file, classifier.signature) as writer,
    ):
        batches = _prefetch(shards.batches(shard))
        for rows in _prefetch(_table(batch, classifier) for batch in batches):
            writer.write_table(rows)
            yield len(rows)


def open_writer(file: IO[bytes], signature: Signature) -> ParquetWriter:
    """A writer for rows of this schema."""
    # few different values
    repeated = [*class_fields(signature)[0], "set.list.element", "verdict", "error", "model_sha256"]
    return ParquetWriter(file, schema_of(signature), use_dictionary=repeated)


def _class_columns(signature: Signature) -> list[tuple[str, pa.DataType]]:
    fields = class_fields(signature)
    small = all(not isinstance(v, int) or v < 128 for names in fields for v in names.values())
    number = pa.int8() if small else pa.int64()
    return [(k, number if isinstance(v, int) else pa.string()) for k, v in fields[0].items()]


def _table(batch: Batch, classifier: Classifier) -> pa.Table:
    """The rows of the output for a batch of images."""
    found = classifier.predict(batch.images)
    fields = class_fields(classifier.signature)
    rows = list(zip(batch.errors, batch.verdicts, found.verdicts, strict=True))
    verdicts = [refused or (None if error else verdict) for error, refused, verdict in rows]
    errors = [error and as_text(error) if refused is None else None for error, refused, _ in rows]
    unseen = np.array([error is not None for error in batch.errors])
    nameless = unseen | np.array([label is None for label in found.labels])
    names = [
        pa.array([values[key] for values in fields], kind).take(
            pa.array(found.classes, mask=nameless)
        )
        for key, kind in _class_columns(classifier.signature)
    ]
    starts = np.arange(0, found.probabilities.size + 1, len(fields))
    return pa.Table.from_arrays(
        [
            _texts(batch.ids),
            *names,
            pa.array(found.confidences, mask=unseen),
            _sets(found, classifier.signature, unseen),
            pa.array(found.novelty, mask=unseen),
            pa.array(verdicts, pa.string()),
            _lists(starts, found.probabilities.ravel(), unseen),
            pa.array(errors, pa.string()),
            pa.repeat(classifier.sha256, len(batch.ids)),
        ],
        schema=schema_of(classifier.signature),
    )


def _sets(found: Predictions, signature: Signature, unseen: NDArray[np.bool_]) -> pa.Array:
    """The labels in each prediction set, the most probable first."""
    order = np.argsort(-found.probabilities, axis=1, kind="stable")
    chosen = np.take_along_axis(found.sets, order, 1)
    starts = np.concatenate([[0], chosen.sum(1).cumsum()])
    labels = pa.array(signature.labels, pa.string()).take(pa.array(order[chosen]))
    return _lists(starts, labels, unseen)


def _lists(starts: NDArray[np.int64], values: Any, mask: NDArray[np.bool_]) -> pa.Array:
    """Lists of values, each from one start to the next; null where masked."""
    return pa.ListArray.from_arrays(starts.astype(np.int32), values, mask=pa.array(mask))


def _texts(names: list[str]) -> pa.Array:
    """The names as text; characters that cannot be encoded are escaped."""
    try:
        return pa.array(names, pa.string())
    except UnicodeEncodeError:
        return pa.array(map(as_text, names), pa.string())


def _prefetch(items: Iterator[T]) -> Iterator[T]:
    """The items, each produced in a thread while the caller uses the one before.

    The thread does not keep a stopped process alive, even if it waits for a file forever.
    """
    requests, made = SimpleQueue[bool](), SimpleQueue[tuple[T | None, BaseException | None]]()

    def make() -> None:
        while requests.get():
            try:
                made.put((next(items, None), None))
            except BaseException as error:  # re-raised in the caller
                made.put((None, error))

    maker = Thread(target=make, daemon=True)
    maker.start()
    requests.put(True)
    try:
        while (item := _unwrapped(*made.get())) is not None:
            requests.put(True)
            yield item
    finally:
        requests.put(False)
        maker.join(PATIENCE)


def _unwrapped(item: T | None, error: BaseException | None) -> T | None:
    if error is not None:
        raise error
    return item
