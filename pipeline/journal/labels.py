"""Exchanges labels with other programs, as CSV or Parquet files."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
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

LABELLED = ("id", "label")  # the columns of a file of labels
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

    They count as votes of `import:NAME`; a later import of the same name replaces those on the same
    images. `labels`: the valid ones. Rows without a label are skipped, and an image that several
    rows give the same label has it once. UserError names the first row that is wrong, or gives an
    image another label than a row before it.
    """
    _require_suffix(file)
    journal = JournalFolder.existing(folder)
    taken: dict[str, tuple[int, str]] = {}
    for number, (identifier, label) in enumerate(_read(file), 1):
        if not label:
            continue
        if not identifier:
            raise UserError(f"{file}, row {number}: the label {label!r} has no id")
        if label not in labels:
            known = ", ".join(labels)
            raise UserError(f"{file}, row {number}: the label {label!r} is none of {known}")
        before, other = taken.setdefault(identifier, (number, label))
        if other != label:
            raise UserError(
                f"{file}, row {number}: the label {label!r} contradicts row {before}, which says "
                f"{other!r}: leave one label for each id"
            )
    there = {
        text
        for batch in entries(folder, ids=taken.keys(), columns=["id"])
        for text in batch["id"].to_pylist()
    }
    for identifier, (number, _) in taken.items():
        if identifier not in there:
            raise UserError(f"{file}, row {number}: {folder} has no entry {identifier!r}")
    if taken:
        now, voter = datetime.now(UTC), f"{IMPORT}{name}"
        given = [Vote(each, now, voter, label) for each, (_, label) in taken.items()]
        journal.write_votes(vote_table(given))
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


def _read(file: Path) -> list[tuple[str | None, str | None]]:
    """The id and the label of each row of a file, as text."""
    try:
        if existing(file).suffix == SUFFIX:
            with pq.ParquetFile(file) as opened:
                _places(file, opened.schema_arrow.names)
                table = opened.read([*LABELLED])
            rows = zip(*(table[name].to_pylist() for name in LABELLED), strict=True)
            return [(_text(identifier), _text(label)) for identifier, label in rows]
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines)
            first, second = _places(file, next(reader, []))
            filled = (row for row in reader if row)
            return [(row[first], row[second]) for row in _padded(filled, 1 + max(first, second))]
    except (pa.ArrowException, OSError, ValueError, csv.Error) as error:
        raise UserError(f"{file} cannot be read: {error}") from error


def _places(file: Path, names: Sequence[str]) -> list[int]:
    """Where the columns id and label are. UserError unless there is one of each."""
    for name in LABELLED:
        if names.count(name) != 1:
            problem = "no" if name not in names else "more than one"
            raise UserError(f"{file} has {problem} column {name}")
    return [names.index(name) for name in LABELLED]


def _padded(rows: Iterable[list[str]], least: int) -> Iterator[list[str]]:
    """The rows, with empty cells at the end of those that are too short."""
    for row in rows:
        yield row + [""] * (least - len(row))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
