"""The command `predict`: classifies the images in files."""

import signal
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from pipeline.batch.formats import Answer, Format, format_of, write_answers
from pipeline.batch.input_files import find_input_files
from pipeline.batch.output import as_text, summary, validate_output
from pipeline.core.errors import UserError
from pipeline.core.files import replacing
from pipeline.core.workspace import Workspace
from pipeline.inference.classifier import Classifier
from pipeline.inference.fields import answer_fields, refusal_fields
from pipeline.pictures.reading import read_batch
from pipeline.registry import open_classifier


@dataclass
class Tally:
    """The number of images with an answer, and of images or files without one."""

    answered: int = 0
    unreadable: int = 0

    def fail(self, error: str) -> None:
        """Print an error and count it."""
        self.unreadable += 1
        tqdm.write(f"error: {error}", file=sys.stderr)


def run(
    names: list[str],
    model: str | None,
    *,
    normalise: bool,
    output: str = "-",
    form: Format | None = None,
    workspace: Workspace | None = None,
    trust: Sequence[Path] = (),
) -> bool:
    """Write the answer for every image; False if some could not be read.

    Errors go to standard error. The answers go to standard output or to the file `output`, which
    appears once it is complete. Their format is `form`, else the one that the file's suffix
    implies. `model`, `workspace` and `trust`, files with public keys, are passed to
    `open_classifier`.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` closes the pipe
    found = find_input_files(names)
    form, target = form or format_of(output), None
    if output != "-":
        target = validate_output(output, found)
    elif sys.stdout is None:
        raise UserError("standard output is closed: name a file with --output")
    found.report()
    classifier = open_classifier(model, workspace, verify=trust)
    among_answers = target is None and form is not Format.TABLE and sys.stdout.isatty()
    files = tqdm(found.files, unit=" files", leave=False, disable=among_answers or None)
    count = Tally()
    answers = _answers(files, classifier, count, normalise=normalise, pipes=set(names))
    if target is None:
        write_answers(answers, sys.stdout, form, classifier.signature)
        sys.stdout.flush()
    else:
        with replacing(target) as temporary:
            with temporary.open("w", encoding="utf-8") as file:
                write_answers(answers, file, form, classifier.signature)
            if count.answered == 0:
                raise UserError(f"{output} is not written: no image could be read")
        print(summary(output, count.answered + count.unreadable, count.unreadable))
    return count.unreadable == 0 and not found.errors


def _answers(
    files: Iterable[str],
    classifier: Classifier,
    count: Tally,
    *,
    normalise: bool,
    pipes: Container[str],
) -> Iterator[Answer]:
    """The answers for the images in these files; errors are printed.

    The files in `pipes` may be pipes: those that were named, not found in a folder.
    """
    signature = classifier.signature
    for name in files:
        try:
            batch = read_batch(Path(name), signature.form, normalise=normalise, pipes=name in pipes)
        except UserError as error:
            count.fail(str(error))
            continue
        found = classifier.predict(batch.images)
        for n, (image, reason) in enumerate(zip(batch.ids, batch.errors, strict=True)):
            verdict = batch.verdicts[n]
            if reason is not None and verdict is None:
                count.fail(reason)
                continue
            count.answered += 1
            yield {"image": as_text(image)} | (
                answer_fields(signature, found, n)
                if verdict is None
                else refusal_fields(signature, verdict)
            )
