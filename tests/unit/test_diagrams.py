"""The diagrams in the pages show the project as it is."""

import pytest

from docs.diagrams import draw_dag, draw_life, draw_loop
from tests.checkout import PROJECT


@pytest.mark.parametrize(
    ("name", "drawn"),
    [("dag", draw_dag(PROJECT)), ("life", draw_life()), ("loop", draw_loop())],
    ids=["dag", "life", "loop"],
)
def test_a_diagram_is_up_to_date(name: str, drawn: str) -> None:
    """If not, run `make pictures`."""
    committed = PROJECT / f"docs/images/{name}.svg"
    assert committed.read_text(encoding="utf-8") == drawn
