"""Reads a journal, also while a service writes it."""

import logging
import math
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.collection.votes import Vote
from pipeline.journal.entry import ENTRY_SCHEMA, VOTE_SCHEMA, form_of
from pipeline.journal.folder import SUFFIX, JournalFolder
from pipeline.journal.ids import seconds_of

LOG = logging.getLogger(__name__)
ROWS = 8192  # of a batch, at most


def entries(
    folder: Path,
    *,
    since: datetime | None = None,
    ids: Collection[str] | None = None,
    columns: Sequence[str] | None = None,
    newest_first: bool = False,
) -> Iterator[pa.RecordBatch]:
    """The entries of a journal in batches, each entry once, without those that are removed.

    The files come in the order in which they were written, or in the opposite one. `since`: only
    entries from then on, a time with its zone. `ids`: only these. `columns`: by default all; the
    metadata of a batch's schema has the form of its images. A file that is no part of a journal is
    skipped with a warning. UserError if the folder is no journal.
    """
    journal = JournalFolder.existing(folder)
    wanted = None if ids is None else pa.array(sorted(ids), pa.string())
    names = list(ENTRY_SCHEMA.names if columns is None else columns)
    read = list(dict.fromkeys(["id", *(["time"] if since else []), *names]))
    removed = journal.removed_ids()
    seen: set[str] = set()  # upkeep copies entries to another file before it deletes the first
    for path in _files(journal.entry_folders, newest_first=newest_first):
        if since is not None and _written(path) < since.timestamp():
            continue
        for batch in _batches(path, ENTRY_SCHEMA, read, images=True):
            found = batch
            if since is not None:
                found = found.filter(
                    pc.greater_equal(found["time"], pa.scalar(since, pa.timestamp("us", "UTC")))
                )
            if wanted is not None:
                found = found.filter(pc.is_in(found["id"], value_set=wanted))
            fresh = []
            for identifier in found["id"].to_pylist():
                fresh.append(identifier not in seen and identifier not in removed)
                seen.add(identifier)
            if not all(fresh):
                found = found.filter(pa.array(fresh, pa.bool_()))
            if found.num_rows:
                yield found.select(names)


def votes(folder: Path) -> list[Vote]:
    """The votes that count: the latest of each voter on each entry, oldest first.

    Those on entries that are removed are left out. UserError if the folder is no journal.
    """
    latest: dict[tuple[str, str], Vote] = {}
    for vote in vote_history(folder):
        latest.pop((vote.entry, vote.voter), None)
        latest[vote.entry, vote.voter] = vote
    return list(latest.values())


def vote_history(folder: Path) -> list[Vote]:
    """The same with the votes that later ones of the same voter have replaced."""
    journal = JournalFolder.existing(folder)
    removed = journal.removed_ids()
    given = [
        Vote(*row.values())
        for path in _files(journal.vote_folders)
        for batch in _batches(path, VOTE_SCHEMA, VOTE_SCHEMA.names)
        for row in batch.to_pylist()
    ]
    kept = (vote for vote in given if vote.entry not in removed)
    return sorted(kept, key=lambda vote: vote.time)


def _files(folders: Sequence[Path], *, newest_first: bool = False) -> Iterator[Path]:
    """The files of folders by name, then those that have appeared meanwhile, until none has."""
    read: set[Path] = set()
    while new := {path for folder in folders for path in folder.glob(f"[!.]*{SUFFIX}")} - read:
        yield from sorted(new, key=lambda path: (path.name, path), reverse=newest_first)
        read |= new


def _written(path: Path) -> float:
    """When a file was written, which is after all its entries, in seconds since 1970."""
    try:
        return seconds_of(path.stem) + 1  # the clock may have been set back by a little
    except ValueError:
        return math.inf


def _batches(
    path: Path, schema: pa.Schema, columns: list[str], *, images: bool = False
) -> Iterator[pa.RecordBatch]:
    """The batches of a file, with the types of this schema."""
    try:
        with pq.ParquetFile(path) as file:
            found = file.schema_arrow
            if not found.remove_metadata().equals(schema.remove_metadata()):
                raise ValueError("its columns are not those of a journal")
            height, width = form_of(found) if images else (0, 0)
            for batch in file.iter_batches(ROWS, columns=columns):
                if "pixels" in columns and pc.any(
                    pc.not_equal(pc.binary_length(batch["pixels"]), height * width)
                ):
                    raise ValueError("its images are not of the form that it states")
                yield batch.select(columns).replace_schema_metadata(found.metadata)
    except FileNotFoundError:  # upkeep has copied it to another file
        return
    except (pa.ArrowException, OSError, ValueError) as error:
        LOG.warning("%s is skipped: %s", path, error)
