"""Replaces files of a journal by others with the same rows, or fewer."""

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.journal.folder import SUFFIX, write_file
from pipeline.journal.ids import seconds_of, uuid7

LOG = logging.getLogger(__name__)


def sorted_files(folder: Path) -> list[Path]:
    """The files that were written by a journal, in the order in which they were written."""
    return sorted(path for path in folder.glob(f"[!.]*{SUFFIX}") if written(path) > 0)


def written(path: Path) -> float:
    """When a file, or the last of those that were merged to it, was written; 0: not by a journal.

    In seconds since 1970.
    """
    try:
        return seconds_of(path.stem)
    except ValueError:
        return 0.0


def read(path: Path, columns: list[str] | None = None) -> pa.Table | None:
    """The content of a file; None if it is damaged."""
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns)
    except (pa.ArrowException, OSError) as error:
        LOG.warning("%s cannot be read: %s", path, error)
        return None


def rewrite(paths: list[Path], without: set[str]) -> None:
    """Replace files of one folder by one, without these entries and with no row twice."""
    found = [(path, table) for path in paths if (table := read(path)) is not None]
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
        write_file(table, last.with_name(f"{uuid7(seconds=written(last))}{SUFFIX}"))
    for path, _ in found:
        path.unlink(missing_ok=True)
