"""Exchanges labels with other programs, as CSV or Parquet files."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.collection.votes import IMPORT, Vote
from pipeline.core.errors import UserError
from pipeline.core.files import existing, replacing, write_csv
from pipeline.journal.entry import pixels_of
from pipeline.journal.folder import SUFFIX, JournalFolder
from pipeline.journal.reading import entries, votes
from pipeline.journal.writing import vote_table

ANSWER = ("id", "time", "version", "verdict", "label", "novelty", "random")
EXPORT_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("time", pa.timestamp("us", "UTC")),
        pa.field("version", pa.string()),
        pa.field("verdict", pa.string()),
        pa.field("answer", pa.string()),  # the model's label
        pa.field("novelty", pa.float32()),
        pa.field("random", pa.bool_()),
        pa.field("voter", pa.string()),  # null if nobody has labelled the image
        pa.field("label", pa.string()),
        pa.field("image", pa.binary()),  # a PNG file
    ]
)


def export_labels(folder: Path, output: Path) -> int:
    """Write a row for each vote on an entry, and for each entry without one; how many rows.

    A Parquet file has the images, too. UserError if the folder is no journal, or for another suffix
    than .csv or .parquet.
    """
    _require_suffix(output)
    found: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes(folder):
        found[vote.entry].append(vote)
    if output.suffix == SUFFIX:
        count = 0
        with replacing(output) as temporary, pq.ParquetWriter(temporary, EXPORT_SCHEMA) as writer:
            for rows in _rows(folder, found, images=True):
                writer.write_table(pa.Table.from_pylist(rows, EXPORT_SCHEMA))
                count += len(rows)
        return count
    rows = [row for rows in _rows(folder, found, images=False) for row in rows]
    if rows:
        write_csv(output, rows)
    else:
        output.write_text(",".join(EXPORT_SCHEMA.names[:-1]) + "\n", encoding="utf-8")
    return len(rows)


def import_labels(folder: Path, file: Path, name: str, labels: tuple[str, ...]) -> int:
    """Take the labels in a file with the columns id and label; how many there are.

    They count as votes of `import:NAME`; a later import of the same name replaces them. `labels`:
    the valid ones. Rows without a label are skipped. UserError names the first row that is wrong.
    """
    _require_suffix(file)
    journal = JournalFolder.existing(folder)
    now, taken = datetime.now(UTC), []
    for number, row in enumerate(_read(file), 1):
        if row["label"] in (None, ""):
            continue
        if row["label"] not in labels:
            known = ", ".join(labels)
            raise UserError(f"{file}, row {number}: the label {row['label']!r} is none of {known}")
        taken.append((number, Vote(row["id"], now, f"{IMPORT}{name}", row["label"])))
    there = {
        text
        for batch in entries(folder, ids={vote.entry for _, vote in taken}, columns=["id"])
        for text in batch["id"].to_pylist()
    }
    for number, vote in taken:
        if vote.entry not in there:
            raise UserError(f"{file}, row {number}: {folder} has no entry {vote.entry!r}")
    if taken:
        journal.write_votes(vote_table([vote for _, vote in taken]))
    return len(taken)


def _require_suffix(path: Path) -> None:
    if path.suffix not in (".csv", SUFFIX):
        raise UserError(f"{path}: name a file that ends in .csv or {SUFFIX}")


def _rows(
    folder: Path, found: dict[str, list[Vote]], *, images: bool
) -> Iterator[list[dict[str, Any]]]:
    columns = [*ANSWER, *(["pixels"] if images else [])]
    for batch in entries(folder, columns=columns):
        pictures = map(_png, pixels_of(batch)) if images else [None] * batch.num_rows
        rows = []
        for entry, picture in zip(batch.select(ANSWER).to_pylist(), pictures, strict=True):
            answer = entry.pop("label")
            entry = {**entry, "answer": answer}
            if not images:
                entry["time"] = entry["time"].isoformat()
            given: list[tuple[str | None, str | None]]
            given = [(vote.voter, vote.label) for vote in found.get(entry["id"], ())]
            for voter, label in given or [(None, None)]:
                row = {**entry, "voter": voter, "label": label}
                rows.append(row | {"image": picture} if images else row)
        yield rows


def _png(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _read(file: Path) -> list[dict[str, Any]]:
    """The rows of a file, with the columns id and label as text."""
    try:
        if existing(file).suffix == SUFFIX:
            table = pq.read_table(file)
            names = table.column_names
            rows = table.select([name for name in ("id", "label") if name in names]).to_pylist()
        else:
            with file.open(newline="", encoding="utf-8-sig") as opened:
                reader = csv.DictReader(opened)
                names = list(reader.fieldnames or [])
                rows = list(reader)
    except (pa.ArrowException, OSError, ValueError, csv.Error) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    for name in ("id", "label"):
        if name not in names:
            raise UserError(f"{file} has no column {name}")
    return [
        {name: None if row[name] is None else str(row[name]) for name in ("id", "label")}
        for row in rows
    ]
