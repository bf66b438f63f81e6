"""python -m pipeline predict: image files to digits."""

import csv
import json
import signal
import sys
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

from tabulate import tabulate
from tqdm import tqdm

from pipeline.batch import Format
from pipeline.batch.finding import TABLES, find_files
from pipeline.batch.output import as_text, checked_output
from pipeline.core.errors import UserError
from pipeline.core.files import replacing
from pipeline.inference.classifier import Classifier
from pipeline.pictures.sources import read_batch

DIGITS = [str(digit) for digit in range(10)]
FORMATS = {  # by the suffix of a file
    ".csv": Format.CSV,
    ".json": Format.JSONL,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
}


class Answer(NamedTuple):
    """What one image shows."""

    image: str
    digit: int
    confidence: float
    probabilities: list[float]


@dataclass
class Count:
    """How many images have an answer, and how many images or files have none."""

    answered: int = 0
    unread: int = 0

    def fail(self, error: str) -> None:
        """Print what is wrong with one."""
        self.unread += 1
        tqdm.write(f"error: {error}", file=sys.stderr)


def run(
    names: list[str], model: str, *, normalise: bool, output: str = "-", form: Format | None = None
) -> bool:
    """Tell digit and probabilities of every image; False if there were some without an answer.

    What is wrong with those goes to standard error; the answers go to the file `output`, as soon
    as it is whole, or to standard output. Their format is `form`, else what the file's name says.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` may end it
    found = find_files(names)
    form, target = form or _format_of(output), None
    if output != "-":
        target = checked_output(output, found)
    elif sys.stdout is None:
        raise UserError("standard output is closed: name a file by --output")
    found.tell()
    classifier = Classifier(model)
    beside_lines = target is None and form is not Format.TABLE and sys.stdout.isatty()
    files = tqdm(found.files, unit=" files", leave=False, disable=beside_lines or None)
    count = Count()
    answers = _answers(files, classifier, count, normalise=normalise, pipes=set(names))
    if target is None:
        _PRINT[form](answers, sys.stdout)
        sys.stdout.flush()
    else:
        with replacing(target) as temporary:
            with temporary.open("w", encoding="utf-8") as file:
                _PRINT[form](answers, file)
            if count.answered == 0:
                raise UserError(f"{output} is not written: no image could be read")
        images = count.answered + count.unread
        print(as_text(f"{output}: {images:,} images, {count.unread:,} of them could not be read"))
    return count.unread == 0 and not found.errors


def _answers(
    files: Iterable[str],
    classifier: Classifier,
    count: Count,
    *,
    normalise: bool,
    pipes: Container[str],
) -> Iterator[Answer]:
    """What the images in these files show; what is wrong with others is printed.

    Of the files, `pipes` may be pipes: those that were named, not just found in a folder.
    """
    for name in files:
        try:
            batch = read_batch(Path(name), normalise=normalise, pipes=name in pipes)
        except UserError as error:
            count.fail(str(error))
            continue
        rows = classifier.predict(batch.images).probabilities.tolist()
        for image, reason, probabilities in zip(batch.ids, batch.errors, rows, strict=True):
            if reason is not None:
                count.fail(reason)
                continue
            count.answered += 1
            confidence = max(probabilities)
            digit = probabilities.index(confidence)
            yield Answer(as_text(image), digit, confidence, probabilities)


def _format_of(output: str) -> Format:
    if output in set(Format):
        raise UserError(f"--output names a file: for this format, --format {output}")
    if Path(output).suffix.lower() in TABLES:
        raise UserError(f"{output}: `predict` writes CSV and JSON lines; `score` writes Parquet")
    return FORMATS.get(Path(output).suffix.lower(), Format.TABLE)


def _table(answers: Iterable[Answer], file: TextIO) -> None:
    rows = [
        [name, digit, _percent(confidence), *(f"{value:.3f}" for value in probabilities)]
        for name, digit, confidence, probabilities in answers
    ]
    if rows:
        headers = ["image", "digit", "confidence", *DIGITS]
        print(tabulate(rows, headers, disable_numparse=True), file=file)


def _percent(confidence: float) -> str:
    shown = f"{confidence:.2%}"
    return ">99.99%" if shown == "100.00%" else shown  # no network is sure


def _json_lines(answers: Iterable[Answer], file: TextIO) -> None:
    for answer in answers:
        print(json.dumps(answer._asdict()), file=file)


def _csv(answers: Iterable[Answer], file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["image", "digit", "confidence", *DIGITS])
    for *first, probabilities in answers:
        writer.writerow([*first, *probabilities])


_PRINT = {Format.TABLE: _table, Format.JSONL: _json_lines, Format.CSV: _csv}
