"""The numbers in the documentation come from reports/, and marker errors are reported."""

import shutil
from pathlib import Path

import pytest

from docs.numbers import update
from pipeline.core.errors import UserError
from pipeline.core.reports import Metrics
from pipeline.core.workspace import Workspace
from tests.checkout import PROJECT

PAGE = """# A page

It reaches <!-- insert: results.accuracy -->90%<!-- end -->
of the <!-- insert: results.images --><!-- end --> images.

<!-- insert: results -->
<!-- end -->
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with reports on the model in models/ and a page with numbers."""
    shutil.copytree(PROJECT / "reports", tmp_path / "reports")
    (tmp_path / "models").mkdir()
    shutil.copy(PROJECT / "models/SHA256SUMS", tmp_path / "models")
    (tmp_path / "README.md").write_text("A front door.\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/page.md").write_text(PAGE)
    return tmp_path


def test_numbers_are_inserted_once(root: Path) -> None:
    metrics = Metrics.read(Workspace(root).metrics)
    assert update(root, check=True) == 1
    assert (root / "docs/page.md").read_text() == PAGE
    assert update(root, check=False) == 0
    text = (root / "docs/page.md").read_text()
    assert f"accuracy -->{metrics.accuracy:.2%}<!-- end -->\n" in text
    assert f"images -->{metrics.images:,}<!-- end --> images." in text
    rows = text.partition("<!-- insert: results -->\n")[2].partition("\n<!-- end -->")[0]
    assert all(row.startswith("| ") for row in rows.splitlines())
    assert update(root, check=True) == 0


def test_a_changed_report_is_detected(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    update(root, check=False)
    workspace = Workspace(root)
    metrics = Metrics.read(workspace.metrics)
    metrics.model_copy(update={"accuracy": 0.5}).write(workspace.metrics)
    capsys.readouterr()
    assert update(root, check=True) == 1
    assert "docs/page.md:3: results.accuracy" in capsys.readouterr().out


def test_reports_of_an_unreleased_model_are_ignored(
    root: Path,
) -> None:
    (root / "models/SHA256SUMS").write_text(f"{'0' * 64}  model.onnx\n")
    assert update(root, check=True) == 0
    with pytest.raises(UserError):
        update(root, check=False)
    assert (root / "docs/page.md").read_text() == PAGE


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("It is <!-- insert: results.nothing -->1<!-- end -->", 1),
        ("It is\n\nlike <!-- insert: nothing -->1<!-- end -->", 3),
        ("It is <!-- insert: results.accuracy -->1", 1),
        ("It is <!-- insert: results.loss -->1 <!-- insert: results.loss -->2<!-- end -->", 1),
        ("It is\n1<!-- end -->", 2),
        ("It is <!-- insert: results.loss -->1\n2<!-- end -->", 1),
        ("It is\n<!-- insert: results.loss -->1<!-- end --> now", 2),  # a block of HTML
    ],
)
def test_marker_errors_are_reported_with_file_and_line(root: Path, text: str, line: int) -> None:
    (root / "docs/page.md").write_text(text)
    for check in (True, False):
        with pytest.raises(UserError, match=rf"docs/page\.md:{line}: "):
            update(root, check=check)
