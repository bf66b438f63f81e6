"""The photographs in tests/pictures are read as the digits they show, or refused."""

from pathlib import Path

import numpy as np
import pytest

from tests.checkout import needs_model
from tests.digits import make_digits
from tests.photographs import CONDITIONS, REFUSED, Photograph, photograph
from tests.samples import FOLDER, LARGEST, read

PICTURES = sorted(FOLDER.glob("*=*.jpg"))


def test_there_are_small_pictures_of_every_condition() -> None:
    assert len(PICTURES) >= 40
    assert all(path.stat().st_size < LARGEST for path in FOLDER.iterdir())


@needs_model
@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_a_photograph_is_read_or_refused(path: Path) -> None:
    assert (
        read(Photograph(path.read_bytes(), None)).replace(" ", "-") == path.stem.partition("=")[2]
    )


@pytest.mark.parametrize("condition", [*CONDITIONS, *REFUSED])
def test_a_seed_gives_one_photograph(condition: str) -> None:
    """The report and the samples can be made again."""
    images, labels = make_digits(20, seed=1)
    first, again, other = (
        photograph(condition, images, labels, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.content != other.content
