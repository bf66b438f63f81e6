"""Deletes the entries beyond a journal's limits, except those with votes.

Votes make an entry a training image or a test image, so such an entry moves to another folder
with its votes, for which there is a limit of bytes only. A move that was interrupted is repeated:
the file keeps its name.
"""

import logging
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.journal.folder import JournalFolder, write_file
from pipeline.journal.keeping import Keeping
from pipeline.journal.reading import entries, votes
from pipeline.journal.rewriting import read, rewrite, sorted_files, written

LOG = logging.getLogger(__name__)


def retire(folder: JournalFolder, keeping: Keeping, before: float) -> None:
    """Delete or move the files written `before`, in seconds since 1970, or beyond the bytes.

    OSError if the disk is full, after all files are deleted that have no votes.
    """

    @cache
    def labelled() -> set[str]:
        return {vote.entry for vote in votes(folder.root)}

    failed: OSError | None = None
    paths = sorted_files(folder.parts)
    sizes = [path.stat().st_size for path in paths]
    excess = sum(sizes) - keeping.bytes
    for path, size in zip(paths, sizes, strict=True):
        if written(path) >= before and excess <= 0:
            break
        try:
            _move(path, folder.labelled_parts, lambda _: labelled())
            excess -= size
        except OSError as error:
            failed = error
    for path in sorted_files(folder.votes):
        if failed is None and written(path) < before:
            _move(path, folder.labelled_votes, lambda ids: _existing(folder, ids))
    _shrink(folder, keeping.labelled_bytes)
    if failed is not None:
        raise failed


def _move(path: Path, target: Path, kept: Callable[[set[str]], Collection[str]]) -> None:
    """Delete a file after its rows with the kept ids are in another folder.

    `kept`: which of these ids are. A damaged file is deleted.
    """
    table = read(path)
    if table is not None:
        chosen = pa.array(sorted(kept(set(table["id"].to_pylist()))), pa.string())
        table = table.filter(pc.is_in(table["id"], value_set=chosen))
        if table.num_rows:
            write_file(table, target / path.name)
    path.unlink(missing_ok=True)


def _existing(folder: JournalFolder, ids: set[str]) -> set[str]:
    """Which of these entries the journal has."""
    found = entries(folder.root, ids=ids, columns=["id"])
    return {text for batch in found for text in batch["id"].to_pylist()}


def _shrink(folder: JournalFolder, limit: float) -> None:
    """Delete the oldest labelled entries and their votes until the rest has so many bytes."""
    paths = sorted_files(folder.labelled_parts)
    sizes = [path.stat().st_size for path in paths]
    excess = sum(sizes) - limit
    for path, size in zip(paths, sizes, strict=True):
        if excess <= 0:
            return
        table = read(path, ["id"])
        ids = set() if table is None else set(table["id"].to_pylist())
        LOG.warning("%s labelled entries are deleted: their limit is reached", len(ids))
        for file in sorted_files(folder.labelled_votes):
            rewrite([file], ids)
        path.unlink(missing_ok=True)
        excess -= size
