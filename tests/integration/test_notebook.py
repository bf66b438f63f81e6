"""The notebook in git is small, complete, and matches the reports in git."""

import json
from typing import Any

import pytest

from pipeline.core.reports import Metrics
from tests.checkout import PROJECT, kept

NOTEBOOK = PROJECT / "notebooks/walkthrough.ipynb"


@pytest.fixture(scope="module")
def cells() -> list[dict[str, Any]]:
    """The notebook's code cells."""
    return [
        cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"
    ]


def test_it_was_run_from_top_to_bottom_without_errors(cells: list[dict[str, Any]]) -> None:
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds == {"execute_result", "stream"}


def test_it_shows_the_released_model(cells: list[dict[str, Any]]) -> None:
    metrics = Metrics.model_validate_json(kept("reports/evaluation/metrics.json"))
    texts = [text for cell in cells for out in cell["outputs"] for text in out.get("text", [])]
    accuracy, errors = f"{metrics.accuracy:.2%}", f" {metrics.misclassified} of {metrics.images:,} "
    assert any(accuracy in text and errors in text for text in texts)


def test_it_is_small_and_contains_no_path_of_the_machine() -> None:
    assert NOTEBOOK.stat().st_size < 700_000
    assert str(PROJECT) not in NOTEBOOK.read_text()
