"""python -m pipeline score: the digits of an input of any size, as a Parquet file.

A shard that has been scored is a file in OUTPUT.partial, whole or not there. Killed and started
again, it goes on with the shards that are missing; when none is, the output is put together. Who
scores a shard does not matter: all cores of this machine, one shard after the other, or those of a
Ray cluster (cluster.py), a shard for each core.
"""

import hashlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, TypeVar

import numpy as np
import onnxruntime
import PIL
import pyarrow as pa
import scipy
from pyarrow.parquet import ParquetFile, ParquetWriter
from tqdm import tqdm

from pipeline.batch.finding import find_files
from pipeline.batch.output import JOINED, as_text, checked_output, scratch
from pipeline.batch.shards import SHARD, Shards, open_shards
from pipeline.core.errors import UserError
from pipeline.core.files import replacing
from pipeline.inference.classifier import Classifier
from pipeline.pictures.batch import Batch

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
OTHERS = {".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".xlsx"}  # what it does not write
SHOWN = 3  # reasons why images could not be read
PATIENCE = 5  # seconds for a thread to end, when the process is stopped


def run(
    names: Sequence[str | Path],
    output: str | Path,
    model: str,
    *,
    normalise: bool,
    cluster: str | None = None,
) -> bool:
    """Score all images of `names` into `output`; False if some of them could not be read.

    `cluster`: the address of a Ray cluster that does the work, if it is not this machine.
    """
    if Path(output).suffix.lower() in OTHERS:
        raise UserError(f"{output}: `score` writes Parquet; `predict` writes CSV and JSON lines")
    if "-" in names:
        raise UserError("`score` does not read standard input: save it as a file first")
    found = find_files(map(str, names), tables=True)
    target = checked_output(str(output), found)
    found.tell()
    classifier = Classifier(model, threads=0 if cluster is None else 1)
    partial = target.with_name(f"{target.name}.partial")
    with scratch(partial):
        shards = open_shards(names, found.files, partial, normalise=normalise)
        made_by = [shards.fingerprint, classifier.sha256, normalise, SCHEMA, SHARD, _code()]
        parts = partial / hashlib.sha256(repr(made_by).encode()).hexdigest()
        for other in partial.iterdir():
            if other.is_dir() and other != parts:
                print("from the start: input, model or options are not as before", file=sys.stderr)
                shutil.rmtree(other)
        paths = [parts / f"{shard:06}.parquet" for shard in range(len(shards))]
        missing = {shard: path for shard, path in enumerate(paths) if _rows(path) is None}
        if cluster is None:
            scored = _score(shards, classifier, missing)
        else:
            from pipeline.batch.cluster import score_on_cluster

            parts.mkdir(exist_ok=True)
            named = [path.absolute() for path in map(Path, names) if path.exists()]
            shared = [*named, Path(found.files[0]).absolute().parent, parts]
            scored = score_on_cluster(cluster, shards, classifier, missing, shared)
        done = sum(_rows(path) or 0 for shard, path in enumerate(paths) if shard not in missing)
        _show_progress(scored, shards.images, done)
        unread, reasons = _join(paths, partial / JOINED)
        (partial / JOINED).replace(target)
        shutil.rmtree(parts)
    for reason in reasons:
        print(f"error: {reason}", file=sys.stderr)
    if unread > len(reasons):
        print(f"the others: column error of {output}", file=sys.stderr)
    print(as_text(f"{output}: {shards.images:,} images, {unread:,} of them could not be read"))
    return unread == 0 and not found.errors


def table(batch: Batch, classifier: Classifier) -> pa.Table:
    """The rows of the output for a batch of images."""
    digits, confidences, probabilities, _ = classifier.predict(batch.images)
    unread = np.array([error is not None for error in batch.errors])
    starts = np.arange(0, probabilities.size + 1, 10, dtype=np.int32)
    return pa.Table.from_arrays(
        [
            pa.array(map(as_text, batch.ids), pa.string()),
            pa.array(digits.astype(np.int8), mask=unread),
            pa.array(confidences, mask=unread),
            pa.ListArray.from_arrays(starts, probabilities.ravel(), mask=pa.array(unread)),
            pa.array([error and as_text(error) for error in batch.errors], pa.string()),
            pa.array([classifier.sha256] * len(batch.ids), pa.string()),
        ],
        schema=SCHEMA,
    )


def score_shard(shards: Shards, shard: int, classifier: Classifier, path: Path) -> Iterator[int]:
    """Score a shard into the file `path`, whole or not at all; yields how many images are done."""
    with replacing(path) as temporary, temporary.open("wb") as file, _writer(file) as writer:
        batches = _ahead(shards.batches(shard))
        for rows in _ahead(table(batch, classifier) for batch in batches):
            writer.write_table(rows)
            yield len(rows)


def _writer(file: IO[bytes]) -> ParquetWriter:
    return ParquetWriter(file, SCHEMA, use_dictionary=REPEATED)


def _code() -> str:
    """A digest of what makes answers out of an input: the code beside this, and its libraries."""
    digest = hashlib.sha256()
    for module in (np, onnxruntime, PIL, pa, scipy):
        digest.update(f"{module.__name__} {module.__version__}\n".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _score(shards: Shards, classifier: Classifier, missing: dict[int, Path]) -> Iterator[int]:
    for shard, path in missing.items():
        yield from score_shard(shards, shard, classifier, path)


def _rows(path: Path) -> int | None:
    """How many images were scored into the file of a shard, or None if it is missing or broken."""
    try:
        with path.open("rb") as file, ParquetFile(file) as part:
            return int(part.metadata.num_rows)
    except (pa.ArrowException, OSError):
        return None


def _show_progress(scored: Iterator[int], images: int, done: int) -> None:
    """Let the images be scored, as many as `scored` says one after the other."""
    if done:
        print(f"{done:,} images were scored before", file=sys.stderr)
    with tqdm(total=images, initial=done, unit=" images", unit_scale=True, disable=None) as bar:
        for number in scored:
            bar.update(number)


def _join(paths: list[Path], output: Path) -> tuple[int, list[str]]:
    """Put the files of the shards together; how many images could not be read, and some reasons."""
    unread, reasons = 0, list[str]()
    with replacing(output) as temporary, temporary.open("wb") as joined, _writer(joined) as writer:
        for rows in chain.from_iterable(map(_read, paths)):
            writer.write_batch(rows)
            unread += rows["digit"].null_count
            reasons += rows["error"].drop_null()[: SHOWN - len(reasons)].to_pylist()
    return unread, reasons


def _read(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows in the file of a shard. If it is damaged it goes, to be scored again."""
    try:
        with path.open("rb") as file, ParquetFile(file) as part:
            yield from part.iter_batches(SHARD)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not the content
            raise
        path.unlink()
        raise UserError(f"{path} is damaged and was removed: start again") from error


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The items; each next one is made while one is used.

    By a thread that does not keep a stopped process, should it wait for a file for ever.
    """
    wanted, made = SimpleQueue[bool](), SimpleQueue[tuple[T | None, BaseException | None]]()

    def make() -> None:
        while wanted.get():
            try:
                made.put((next(items, None), None))
            except BaseException as error:  # for who uses the items
                made.put((None, error))

    maker = Thread(target=make, daemon=True)
    maker.start()
    wanted.put(True)
    try:
        while (item := _unwrapped(*made.get())) is not None:
            wanted.put(True)
            yield item
    finally:
        wanted.put(False)
        maker.join(PATIENCE)


def _unwrapped(item: T | None, error: BaseException | None) -> T | None:
    if error is not None:
        raise error
    return item
