"""python -m tests.samples: draws the photographs in tests/pictures, with fixed seeds.

They are the first of each condition that are read right, to notice when that changes; how many are
read at all is measured by `python -m benchmarks pictures`. A file's name tells its condition, and
its digit or the verdict with which it is refused.
"""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.core import idx
from pipeline.core.task import NO_INK, SEVERAL
from pipeline.inference.classifier import Classifier
from pipeline.mnist import TASK
from pipeline.pictures.decoding import decode_picture
from pipeline.pictures.images import in_form
from pipeline.pictures.marks import NotOneCharacter
from tests.checkout import MODEL
from tests.photographs import CONDITIONS, REFUSED, Photograph, Scene, photograph

FOLDER = Path(__file__).with_name("pictures")
MNIST = Path(__file__).parents[2] / "shared/mnist"  # the mirror next to the clone
SEED = 3
COUNTS = {"all mixed": 6, "no digit, mixed": 4, "two digits, mixed": 4}  # of others: 2
LARGEST = 20_000  # bytes


def main() -> None:
    """Replace the files."""
    with gzip.open(MNIST / "t10k-images-idx3-ubyte.gz") as file:
        images = idx.decode(file.read(), 3)
    with gzip.open(MNIST / "t10k-labels-idx1-ubyte.gz") as file:
        labels = idx.decode(file.read(), 1)
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    for number, condition in enumerate([*CONDITIONS, *REFUSED]):
        random = np.random.default_rng([SEED, number])
        found: list[Photograph] = []
        while len(found) < COUNTS.get(condition, 2):
            picture = photograph(condition, images, labels, random, compressed)
            if len(picture.content) < LARGEST and read(picture) == expected(condition, picture):
                found.append(picture)
        for n, picture in enumerate(found):
            name = f"{condition}-{n}={expected(condition, picture)}.jpg"
            plain = name.replace(",", "").replace("%", "percent").replace(" ", "-")
            (FOLDER / plain).write_bytes(picture.content)


def compressed(scene: Scene) -> Scene:
    """A scene as a JPEG of low quality."""
    return replace(scene, quality=min(scene.quality or 60, 60))


def read(picture: Photograph) -> str:
    """The digit that the released model reads, or the verdict of a refusal."""
    try:
        image = in_form([decode_picture(picture.content)], TASK.form, normalise=True)
    except NotOneCharacter as error:
        return error.verdict
    return str(Classifier(MODEL, threads=1).predict(image).classes[0])


def expected(condition: str, picture: Photograph) -> str:
    """The digit, or the verdict with which the picture is refused."""
    if picture.label is not None:
        return str(picture.label)
    return SEVERAL if condition == "two digits, mixed" else NO_INK


if __name__ == "__main__":
    main()
