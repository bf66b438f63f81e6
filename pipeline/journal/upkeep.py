"""Keeps a journal within its limits: age, bytes, number of files, and what is removed.

Files are merged and rewritten as others are written: the new file appears whole before the old
ones are deleted. A reader may therefore find an entry twice, but never not at all.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from pipeline.core.files import replacing
from pipeline.journal.folder import COMPRESSION, SUFFIX, JournalFolder
from pipeline.journal.ids import seconds_of, uuid7
from pipeline.journal.keeping import Keeping

LOG = logging.getLogger(__name__)
SETTLED = 60.0  # seconds after which no process writes a file, or an entry from before
SPAN = 3600.0  # seconds: only files of the same hour are merged
MANY = 60  # files of the present hour are merged once there are so many
LARGE = 8 * 2**20  # bytes: a file of this size is not merged with others
ROWS = 8192  # of a row group


def keep_up(folder: JournalFolder, keeping: Keeping, now: float) -> None:
    """Enforce the limits, unless another process does so at present.

    `now`: seconds since 1970. Entries go at most an hour after their age. OSError if the disk is
    full.
    """
    with suppress(Timeout), FileLock(folder.root / ".upkeep.lock", timeout=0):
        for files in (folder.parts, folder.votes):
            _delete_unfinished(files, now)
            for path in _sorted(files):
                if now - _written(path) > 86_400 * keeping.days + SPAN:
                    path.unlink(missing_ok=True)
            _merge(files, now)
        _erase(folder, now)
        _shrink(folder.parts, keeping.bytes)


def _sorted(folder: Path) -> list[Path]:
    """The files that were written by a journal, in the order in which they were written."""
    return sorted(path for path in folder.glob(f"[!.]*{SUFFIX}") if _written(path) > 0)


def _written(path: Path) -> float:
    """When a file, or the last of those that were merged to it, was written; 0: not by a journal.

    In seconds since 1970.
    """
    try:
        return seconds_of(path.stem)
    except ValueError:
        return 0.0


def _delete_unfinished(folder: Path, now: float) -> None:
    """Delete what a process was writing when it was killed."""
    for path in folder.glob(f".*{SUFFIX}"):
        with suppress(FileNotFoundError):
            if now - path.stat().st_mtime > SETTLED:
                path.unlink()


def _merge(folder: Path, now: float) -> None:
    """Merge the small files of each hour."""
    groups: dict[int, list[Path]] = defaultdict(list)
    for path in _sorted(folder):
        if now - _written(path) > SETTLED and path.stat().st_size < LARGE:
            groups[int(_written(path) // SPAN)].append(path)
    for hour, paths in groups.items():
        if len(paths) >= (MANY if hour == int(now // SPAN) else 2):
            for some in _chunks(paths):
                if len(some) > 1:
                    _rewrite(some, set())


def _chunks(paths: list[Path]) -> Iterator[list[Path]]:
    """The files in groups of about LARGE bytes."""
    chunk: list[Path] = []
    size = 0
    for path in paths:
        chunk.append(path)
        size += path.stat().st_size
        if size >= LARGE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _erase(folder: JournalFolder, now: float) -> None:
    """Erase the entries that are removed, and the votes on them."""
    marks = {path.name: path.stat().st_mtime for path in folder.removed.iterdir()}
    settled = {name for name, time in marks.items() if now - time > SETTLED}
    if not settled:
        return
    for files in (folder.parts, folder.votes):
        for path in _sorted(files):
            table = _read(path, ["id"])
            if table is not None and not settled.isdisjoint(table["id"].to_pylist()):
                _rewrite([path], settled)
    for name in settled:
        (folder.removed / name).unlink(missing_ok=True)


def _rewrite(paths: list[Path], without: set[str]) -> None:
    """Replace files of one folder by one, without these entries and with no row twice."""
    found = [(path, table) for path in paths if (table := _read(path)) is not None]
    if not found:
        return
    schema = found[0][1].schema
    found = [(path, table) for path, table in found if table.schema.equals(schema, True)]
    table = pa.concat_tables([table for _, table in found])
    names = [name for name in ("id", "voter", "time") if name in table.column_names]
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    first = {row: number for number, row in reversed([*enumerate(rows)]) if row[0] not in without}
    table = table.take(pa.array(sorted(first.values()), pa.int64()))
    if table.num_rows:
        last = found[-1][0]
        with replacing(last.with_name(f"{uuid7(seconds=_written(last))}{SUFFIX}")) as temporary:
            pq.write_table(table, temporary, ROWS, compression=COMPRESSION)
    for path, _ in found:
        path.unlink(missing_ok=True)


def _read(path: Path, columns: list[str] | None = None) -> pa.Table | None:
    """The content of a file; None if it is damaged."""
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns)
    except (pa.ArrowException, OSError) as error:
        LOG.warning("%s is left alone: %s", path, error)
        return None


def _shrink(folder: Path, limit: float) -> None:
    """Delete the oldest files until all together have at most this many bytes."""
    paths = _sorted(folder)
    sizes = [path.stat().st_size for path in paths]
    total = sum(sizes)
    for path, size in zip(paths, sizes, strict=True):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size
