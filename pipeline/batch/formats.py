"""The output formats of `predict`: a table, JSON Lines and CSV."""

import csv
import json
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

from pipeline.batch.input_files import TABLES
from pipeline.core.errors import UserError
from pipeline.inference.fields import field_names
from pipeline.inference.signature import Signature

SEPARATOR = "|"  # of the labels in a prediction set


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


Answer = dict[str, Any]  # for one image: its name as `image`, and the fields of its answer


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
    answers: Iterable[Answer], file: TextIO, form: Format, signature: Signature
) -> None:
    """Write answers; a table and CSV have a column of probabilities for each label.

    CSV and JSON Lines are written as the answers arrive.
    """
    _WRITE[form](answers, file, signature)


def _table(answers: Iterable[Answer], file: TextIO, signature: Signature) -> None:
    from tabulate import tabulate

    rows = []
    for answer in answers:
        if answer["confidence"] is not None:
            answer["confidence"] = _percent(answer["confidence"])
            answer["novelty"] = f"{answer['novelty']:.2f}"
            answer["probabilities"] = [f"{value:.3f}" for value in answer["probabilities"]]
        rows.append(_row(answer, signature))
    if rows:
        print(tabulate(rows, _columns(signature), disable_numparse=True), file=file)


def _percent(confidence: float) -> str:
    shown = f"{confidence:.2%}"
    return ">99.99%" if shown == "100.00%" else shown  # a network is never certain


def _json_lines(answers: Iterable[Answer], file: TextIO, signature: Signature) -> None:
    for answer in answers:
        print(json.dumps(answer), file=file)


def _csv(answers: Iterable[Answer], file: TextIO, signature: Signature) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_columns(signature))
    writer.writerows(_row(answer, signature) for answer in answers)


def _columns(signature: Signature) -> list[str]:
    *names, _ = field_names(signature)
    return ["image", *names, *signature.labels]


def _row(answer: Answer, signature: Signature) -> list[Any]:
    """The cells of an answer; those without a value are None."""
    *cells, probabilities = (answer | {"set": SEPARATOR.join(answer["set"] or [])}).values()
    return [*cells, *(probabilities or [None] * len(signature.labels))]


_WRITE: dict[Format, Callable[[Iterable[Answer], TextIO, Signature], None]] = {
    Format.TABLE: _table,
    Format.JSONL: _json_lines,
    Format.CSV: _csv,
}
