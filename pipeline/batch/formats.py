"""The output formats of `predict`: a table, JSON Lines and CSV."""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, TextIO

from pipeline.batch.input_files import TABLES
from pipeline.core.errors import UserError


class Format(StrEnum):
    """An output format."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"


SUFFIXES = {
    ".csv": Format.CSV,
    ".json": Format.JSONL,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
}


class Answer(NamedTuple):
    """The answer for one image."""

    image: str
    fields: dict[str, str | int]  # that name the class
    confidence: float
    probabilities: list[float]  # of all classes


def format_of(output: str) -> Format:
    """The format that a file's name implies. UserError if `predict` does not write it."""
    if output in set(Format):
        raise UserError(
            f"--output {output} names a file; to choose the format, use --format {output}"
        )
    if Path(output).suffix.lower() in TABLES:
        raise UserError(f"{output}: `predict` writes CSV and JSON Lines; `score` writes Parquet")
    return SUFFIXES.get(Path(output).suffix.lower(), Format.TABLE)


def write_answers(
    answers: Iterable[Answer],
    file: TextIO,
    form: Format,
    fields: Sequence[str],
    labels: Sequence[str],
) -> None:
    """Write answers whose class has these fields, with one probability column per label.

    CSV and JSON Lines are written as the answers arrive.
    """
    _WRITE[form](answers, file, ["image", *fields, "confidence", *labels])


def _table(answers: Iterable[Answer], file: TextIO, columns: list[str]) -> None:
    from tabulate import tabulate

    rows = [
        [name, *fields.values(), _percent(confidence), *(f"{value:.3f}" for value in probabilities)]
        for name, fields, confidence, probabilities in answers
    ]
    if rows:
        print(tabulate(rows, columns, disable_numparse=True), file=file)


def _percent(confidence: float) -> str:
    shown = f"{confidence:.2%}"
    return ">99.99%" if shown == "100.00%" else shown  # a network is never certain


def _json_lines(answers: Iterable[Answer], file: TextIO, columns: list[str]) -> None:
    for name, fields, confidence, probabilities in answers:
        numbers = {"confidence": confidence, "probabilities": probabilities}
        print(json.dumps({"image": name} | fields | numbers), file=file)


def _csv(answers: Iterable[Answer], file: TextIO, columns: list[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for name, fields, confidence, probabilities in answers:
        writer.writerow([name, *fields.values(), confidence, *probabilities])


_WRITE: dict[Format, Callable[[Iterable[Answer], TextIO, list[str]], None]] = {
    Format.TABLE: _table,
    Format.JSONL: _json_lines,
    Format.CSV: _csv,
}
