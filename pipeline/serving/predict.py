"""python -m pipeline predict: image files to digits."""

import csv
import json
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate
from tqdm import tqdm

from pipeline.errors import UserError
from pipeline.serving import Format
from pipeline.serving.classifier import Classifier
from pipeline.serving.sources import find_files, read_images

DIGITS = [str(digit) for digit in range(10)]


class Answer(NamedTuple):
    """What one image shows."""

    image: str
    digit: int
    confidence: float
    probabilities: list[float]


def run(names: list[str], model: str, *, normalise: bool, output: Format) -> bool:
    """Print digit and probabilities of every image; False if there were files without an answer.

    What is wrong with those goes to standard error.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` may end it
    files = list(find_files(names))
    classifier = Classifier(model)
    lines_beside_bar = output is not Format.TABLE and sys.stdout.isatty()
    bar = tqdm(files, unit=" files", leave=False, disable=lines_beside_bar or None)
    unread = []

    def answers() -> Iterator[Answer]:
        for path in bar:
            try:
                images = read_images(path, normalise=normalise)
            except UserError as error:
                unread.append(path)
                tqdm.write(f"error: {error}", file=sys.stderr)
                continue
            yield from _answers(path, classifier.predict(images).probabilities.tolist())

    _PRINT[output](answers())
    return not unread


def _answers(path: Path, rows: list[list[float]]) -> Iterator[Answer]:
    for index, probabilities in enumerate(rows):
        name = f"{path}[{index}]" if len(rows) > 1 else str(path)
        confidence = max(probabilities)
        yield Answer(name, probabilities.index(confidence), confidence, probabilities)


def _table(answers: Iterable[Answer]) -> None:
    rows = [
        [name, digit, f"{confidence:.2%}", *(f"{value:.3f}" for value in probabilities)]
        for name, digit, confidence, probabilities in answers
    ]
    if rows:
        headers = ["image", "digit", "confidence", *DIGITS]
        print(tabulate(rows, headers, disable_numparse=True))


def _json_lines(answers: Iterable[Answer]) -> None:
    for answer in answers:
        print(json.dumps(answer._asdict()))


def _csv(answers: Iterable[Answer]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["image", "digit", "confidence", *DIGITS])
    for *first, probabilities in answers:
        writer.writerow([*first, *probabilities])


_PRINT = {Format.TABLE: _table, Format.JSONL: _json_lines, Format.CSV: _csv}
