"""The command `score`: classifies the images of an input of any size into a Parquet file.

A scored shard is a file in OUTPUT.partial, complete or absent. An interrupted run resumes with the
missing shards; when none is missing, they are joined. Shards are scored by all cores of this
machine, one shard after another, or by a Ray cluster, one shard per core.
"""

import hashlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import onnxruntime
import PIL
import pyarrow as pa
import scipy
from pyarrow.parquet import ParquetFile
from tqdm import tqdm

import pipeline
from pipeline.batch.input_files import InputFiles, find_input_files
from pipeline.batch.output import summary, validate_output
from pipeline.batch.readers.opening import open_shards
from pipeline.batch.readers.shards import SHARD, Shards
from pipeline.batch.scratch import JOINED, scratch_folder
from pipeline.batch.worker import open_writer, schema_of, score_shard
from pipeline.core.errors import UserError
from pipeline.core.files import replacing
from pipeline.core.workspace import Workspace
from pipeline.inference.classifier import Classifier
from pipeline.inference.signature import Signature
from pipeline.registry import open_classifier

OTHERS = {".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".xlsx"}  # not written
SHOWN = 3  # errors of images
CODE = ["batch", "core", "inference", "pictures"]  # folders that determine the answers


def run(
    names: Sequence[str | Path],
    output: str | Path,
    model: str | None,
    *,
    normalise: bool,
    cluster: str | None = None,
    workspace: Workspace | None = None,
    trust: Sequence[Path] = (),
) -> bool:
    """Score all images of `names` into `output`; False if some could not be read.

    `cluster`: the address of a Ray cluster that does the work, or None for this machine. `model`,
    `workspace` and `trust`, files with public keys, are passed to `open_classifier`.
    """
    if Path(output).suffix.lower() in OTHERS:
        raise UserError(f"{output}: `score` writes Parquet; `predict` writes CSV and JSON Lines")
    if "-" in names:
        raise UserError("`score` does not read standard input: save it as a file first")
    found = find_input_files(map(str, names), tables=True)
    target = validate_output(str(output), found)
    found.report()
    threads = 0 if cluster is None else 1
    classifier = open_classifier(model, workspace, threads=threads, verify=trust)
    scratch = target.with_name(f"{target.name}.partial")
    with scratch_folder(scratch):
        shards = open_shards(
            names, found.files, scratch, classifier.signature.form, normalise=normalise
        )
        folder = _shard_folder(scratch, shards, classifier, normalise=normalise)
        paths = [folder / f"{shard:06}.parquet" for shard in range(len(shards))]
        missing = {shard: path for shard, path in enumerate(paths) if _rows(path) is None}
        if cluster is None:
            scored = _score(shards, classifier, missing)
        else:
            from pipeline.batch.cluster import score_on_cluster  # Ray is an extra

            folder.mkdir(exist_ok=True)
            shared = [*_shared_paths(names, found), folder]
            scored = score_on_cluster(cluster, shards, classifier, missing, shared)
        done = sum(_rows(path) or 0 for shard, path in enumerate(paths) if shard not in missing)
        _show_progress(scored, shards.images, done)
        unreadable, errors = _join(paths, scratch / JOINED, classifier.signature)
        (scratch / JOINED).replace(target)
        shutil.rmtree(folder)
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if unreadable > len(errors):
        print(f"for the others, see the column error of {output}", file=sys.stderr)
    print(summary(output, shards.images, unreadable))
    return unreadable == 0 and not found.errors


def _shard_folder(
    scratch: Path, shards: Shards, classifier: Classifier, *, normalise: bool
) -> Path:
    """The folder for the files of these shards; removes those of another input, model or code."""
    schema = schema_of(classifier.signature)
    made_by = [shards.fingerprint, classifier.sha256, normalise, schema, SHARD, _code()]
    made_by += classifier.providers
    folder = scratch / hashlib.sha256(repr(made_by).encode()).hexdigest()
    for other in scratch.iterdir():
        if other.is_dir() and other != folder:
            print("starting over: the input, model, options or code have changed", file=sys.stderr)
            shutil.rmtree(other)
    return folder


def _code() -> str:
    """A digest of the code and the library versions that determine the answers."""
    digest = hashlib.sha256()
    for module in (np, onnxruntime, PIL, pa, scipy):
        digest.update(f"{module.__name__} {module.__version__}\n".encode())
    for folder in CODE:
        for path in sorted(Path(pipeline.__file__).with_name(folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _score(shards: Shards, classifier: Classifier, missing: dict[int, Path]) -> Iterator[int]:
    for shard, path in missing.items():
        yield from score_shard(shards, shard, classifier, path)


def _shared_paths(names: Sequence[str | Path], found: InputFiles) -> list[Path]:
    """The input paths that every machine of a cluster must see."""
    named = [path.absolute() for path in map(Path, names) if path.exists()]
    return [*named, Path(found.files[0]).absolute().parent]


def _rows(path: Path) -> int | None:
    """The number of rows in the file of a shard, or None if it is missing or damaged."""
    try:
        with path.open("rb") as file, ParquetFile(file) as shard:
            return int(shard.metadata.num_rows)
    except (pa.ArrowException, OSError):
        return None


def _show_progress(scored: Iterator[int], images: int, done: int) -> None:
    """Score by consuming `scored`, which yields numbers of images, and show the progress."""
    if done:
        print(f"resuming: {done:,} images are already scored", file=sys.stderr)
    with tqdm(total=images, initial=done, unit=" images", unit_scale=True, disable=None) as bar:
        for number in scored:
            bar.update(number)


def _join(paths: list[Path], output: Path, signature: Signature) -> tuple[int, list[str]]:
    """Join the shard files; returns the number of unreadable images and the first errors."""
    unreadable, errors = 0, list[str]()
    with (
        replacing(output) as temporary,
        temporary.open("wb") as joined,
        open_writer(joined, signature) as writer,
    ):
        for rows in chain.from_iterable(map(_read, paths)):
            writer.write_batch(rows)
            unreadable += rows["verdict"].null_count
            errors += rows["error"].drop_null()[: SHOWN - len(errors)].to_pylist()
    return unreadable, errors


def _read(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows in the file of a shard. A damaged file is removed, so that it is scored again."""
    try:
        with path.open("rb") as file, ParquetFile(file) as shard:
            yield from shard.iter_batches(SHARD)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # from the disk
            raise
        path.unlink()
        raise UserError(f"{path} was damaged and is now removed: run the command again") from error
