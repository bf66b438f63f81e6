"""The diagrams in the pages show the project as it is."""

import pytest

from docs.diagrams import draw_all
from tests.checkout import PROJECT


@pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
def test_the_diagrams_are_up_to_date() -> None:
    """If they are not, run `make pictures`."""
    images = PROJECT / "docs/images"
    drawn = draw_all(PROJECT)
    assert drawn == {path.stem: path.read_text("utf-8") for path in images.glob("*.svg")}
