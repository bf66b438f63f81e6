"""The photographs in tests/pictures are read as the digits they show, or refused."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.inference.classifier import Classifier
from pipeline.mnist import TASK
from pipeline.pictures.decoding import decode_picture
from pipeline.pictures.images import in_form
from pipeline.pictures.marks import NotOneCharacter
from tests.checkout import MODEL, needs_model
from tests.digits import make_digits
from tests.photographs import CONDITIONS, REFUSED, photograph
from tests.samples import FOLDER, LARGEST

PICTURES = sorted(FOLDER.glob("*=*.jpg"))


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(MODEL, threads=1)


def test_there_are_small_pictures_of_every_condition() -> None:
    assert len(PICTURES) >= 40
    assert all(path.stat().st_size < LARGEST for path in FOLDER.iterdir())


@needs_model
@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_a_photograph_is_read_or_refused(classifier: Classifier, path: Path) -> None:
    expected = path.stem.partition("=")[2]
    try:
        image = in_form([decode_picture(path.read_bytes())], TASK.form, normalise=True)
    except NotOneCharacter as error:
        assert error.verdict == expected  # noqa: PT017
    else:
        assert classifier.predict(image).labels == [expected]


@pytest.mark.parametrize("condition", [*CONDITIONS, *REFUSED])
def test_a_seed_gives_one_photograph(condition: str) -> None:
    """The report and the samples can be made again."""
    images, labels = make_digits(20, seed=1)
    first, again, other = (
        photograph(condition, images, labels, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.content != other.content
