"""python -m benchmarks pictures: how well photographs of digits are read.

tests/photographs.py draws photographs of test digits on paper, under many conditions. Each is
decoded, normalised and classified by the released model, as `predict --normalise` does. The report
counts, for each condition, the pictures read right, those refused, and those read wrong, also with
a confidence of at least 0.9. Pictures without a digit, or with two, are right if they are refused.

Parameters of the normaliser are chosen with `--tuning`, which draws training digits from other
seeds and writes no report. Requires `dvc repro` first. Takes about 5 minutes on two cores.
"""

import argparse
import io
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageOps
from tqdm import tqdm

from benchmarks.report import reports, write_report
from benchmarks.tables import table
from pipeline.core.files import read_tensors, replacing
from pipeline.core.workspace import Workspace
from pipeline.inference.classifier import Classifier
from pipeline.pictures.decoding import decode_picture
from pipeline.pictures.images import Images, in_form
from pipeline.pictures.marks import NotOneCharacter
from tests.photographs import CONDITIONS, REFUSED, Photograph, photograph

PICTURES = 106  # of each condition
SURE = 0.9
MEASURING, TUNING = 1, 2  # seeds
NAMES = [*CONDITIONS, *REFUSED]
EXAMPLES, THUMBNAIL = 6, 84  # of each condition in the figure, and their side in pixels


class Outcome(NamedTuple):
    """What became of a picture."""

    label: int | None  # None: the picture does not show exactly one digit
    answer: int | None  # None: it was refused
    confidence: float


class Counts(NamedTuple):
    """Numbers of pictures of one condition."""

    right: int  # or rightly refused
    refused: int  # though they show one digit
    wrong: int
    wrong_and_sure: int  # with a confidence of at least SURE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument(
        "--pictures", type=int, default=PICTURES, help=f"of each condition ({PICTURES})"
    )
    parser.add_argument(
        "--tuning", action="store_true", help="training digits, other seeds, no report"
    )


def main(workspace: Workspace, pictures: int, tuning: bool) -> None:
    """Read all pictures and write the report."""
    read = partial(outcomes, workspace, pictures, tuning)
    with ProcessPoolExecutor() as pool:
        found = list(tqdm(pool.map(read, NAMES), total=len(NAMES), unit=" conditions"))
    counts = {name: count(of) for name, of in zip(NAMES, found, strict=True)}
    answers = [outcome for of in found for outcome in of if outcome.answer is not None]
    sure = count(answers).wrong_and_sure / max(1, len(answers))
    text = show(counts, pictures, sure)
    if tuning:
        print(text)
        return
    with replacing(reports(workspace) / "pictures.png") as path:
        examples(workspace).save(path, "PNG", optimize=True)
    result = {
        "pictures": pictures,
        "wrong_and_sure": sure,
        "conditions": {name: of._asdict() for name, of in counts.items()},
    }
    write_report(workspace, "pictures", result, text, ["pillow", "scipy"])


def draw(workspace: Workspace, condition: str, pictures: int, tuning: bool) -> list[Photograph]:
    """The first pictures of a condition; the same ones in every call."""
    digits = read_tensors(workspace.training_set if tuning else workspace.test_set)
    seed = [TUNING if tuning else MEASURING, NAMES.index(condition)]
    return [
        photograph(condition, digits["images"], digits["labels"], np.random.default_rng([*seed, n]))
        for n in range(pictures)
    ]


def outcomes(workspace: Workspace, pictures: int, tuning: bool, condition: str) -> list[Outcome]:
    """What becomes of the pictures of a condition."""
    classifier = Classifier(workspace.released_model, threads=1)
    found = []
    for picture in draw(workspace, condition, pictures, tuning):
        image = normalised(classifier, picture)
        if image is None:
            found.append(Outcome(picture.label, None, 0.0))
            continue
        predictions = classifier.predict(image)
        answer = int(predictions.classes[0])
        found.append(Outcome(picture.label, answer, float(predictions.confidences[0])))
    return found


def normalised(classifier: Classifier, picture: Photograph) -> Images | None:
    """The model's input, uint8 [1, H, W]; None if the picture is refused."""
    try:
        grey = decode_picture(picture.content)
        return in_form([grey], classifier.signature.form, normalise=True)
    except NotOneCharacter:
        return None


def count(outcomes: list[Outcome]) -> Counts:
    """The numbers of pictures by what became of them."""
    wrong = [found for found in outcomes if found.answer not in (None, found.label)]
    return Counts(
        right=sum(found.answer == found.label for found in outcomes),
        refused=sum(found.answer is None and found.label is not None for found in outcomes),
        wrong=len(wrong),
        wrong_and_sure=sum(found.confidence >= SURE for found in wrong),
    )


def show(counts: dict[str, Counts], pictures: int, sure: float) -> str:
    """The report in Markdown."""
    headers = ["", "right", "refused", "wrong", f"wrong at a confidence of {SURE} or more"]
    rows = [[name, *(f"{number / pictures:.1%}" for number in of)] for name, of in counts.items()]
    return (
        f"{table(headers, rows)}\n\n{pictures} pictures of each condition. Of all answers, "
        f"{sure:.2%} are wrong at a confidence of {SURE} or more. Pictures without a digit, or "
        "with two, are right if they are refused. ![Pictures of each condition, each with the "
        "model's input](pictures.png)"
    )


def examples(workspace: Workspace) -> Image.Image:
    """The first pictures of each condition, each next to the model's input."""
    classifier = Classifier(workspace.released_model, threads=1)
    side, step = THUMBNAIL, THUMBNAIL + 60
    sheet = Image.new("RGB", (EXAMPLES * step, len(NAMES) * (side + 18)), "white")
    for row, name in enumerate(NAMES):
        top = row * (side + 18)
        ImageDraw.Draw(sheet).text((2, top + 3), name, "black")
        for column, picture in enumerate(draw(workspace, name, EXAMPLES, tuning=False)):
            with Image.open(io.BytesIO(picture.content)) as opened:
                small = ImageOps.exif_transpose(opened).convert("RGB")
            small.thumbnail((side, side))
            sheet.paste(small, (column * step, top + 18))
            if (image := normalised(classifier, picture)) is not None:
                form = Image.fromarray(image[0]).resize((48, 48))
                sheet.paste(form, (column * step + side + 2, top + 18))
    return sheet.quantize(128)
