"""Labels exchanged with other programs."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.journal.labels import export_labels, import_labels
from pipeline.journal.reading import votes
from tests.digits import make_digits
from tests.journals import make_journal

IMAGES, LABELS = make_digits(3, 3)
VALID = (*map(str, range(10)), "not a digit")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_a_csv_file_has_a_row_for_each_label_and_each_unlabelled_image(root: Path) -> None:
    made = make_journal(root, IMAGES, LABELS, [(0, "user:a", "5"), (0, "reviewer:b", "0")])
    file = root.with_name("labels.csv")
    assert export_labels(root, file) == 4
    with file.open() as opened:
        rows = list(csv.DictReader(opened))
    assert [(row["id"], row["voter"], row["label"]) for row in rows] == [
        (made[0], "user:a", "5"),
        (made[0], "reviewer:b", "0"),
        (made[1], "", ""),
        (made[2], "", ""),
    ]
    assert [row["answer"] for row in rows[1:]] == [str(label) for label in LABELS]


def test_a_parquet_file_has_the_images(root: Path) -> None:
    make_journal(root, IMAGES, LABELS)
    file = root.with_name("labels.parquet")
    export_labels(root, file)
    for row, image in zip(pq.read_table(file).to_pylist(), IMAGES, strict=True):
        assert (np.asarray(Image.open(io.BytesIO(row["image"]))) == image).all()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_was_exported_can_be_labelled_and_imported(root: Path, suffix: str) -> None:
    made = make_journal(root, IMAGES, LABELS)
    file = root.with_name(f"labels.{suffix}")
    export_labels(root, file)
    if suffix == "csv":
        with file.open() as opened:
            rows = list(csv.DictReader(opened))
        rows[1]["label"], rows[2]["label"] = "7", "not a digit"
        with file.open("w") as opened:
            writer = csv.DictWriter(opened, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        pq.write_table(pa.table({"id": made, "label": [None, "7", "not a digit"]}), file)
    for _ in range(2):  # the second import replaces the first
        assert import_labels(root, file, "ann", VALID) == 2
    assert [(vote.entry, vote.voter, vote.label) for vote in votes(root)] == [
        (made[1], "import:ann", "7"),
        (made[2], "import:ann", "not a digit"),
    ]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("id,label\n{id},7\n{id},eleven\n", "row 2"),
        ("id,label\n{id},7\nx,7\n", "row 2"),
        ("id,digit\n{id},7\n", "label"),
        ("", "id"),
        ("id,label\n{id},7\n{id},8\n", "row 2"),
        ("id,label,label\n{id},7,8\n", "label"),
        ("id,label\n,7\n", "row 1"),
        ("label,id\n7\n", "row 1"),
        ("id,label\n{id},=7\n", "row 1"),
        ("id,label\n{id},7.0\n", "row 1"),
    ],
)
def test_a_wrong_row_imports_nothing(root: Path, content: str, named: str) -> None:
    first, *_ = make_journal(root, IMAGES, LABELS)
    file = root.with_name("labels.csv")
    file.write_text(content.format(id=first))
    with pytest.raises(UserError, match=named):
        import_labels(root, file, "ann", VALID)
    assert votes(root) == []


def test_csv_files_of_other_programs_are_read(root: Path) -> None:
    """A byte order mark, Windows' line ends, quotes, an empty line, and a row twice."""
    first, second, _ = make_journal(root, IMAGES, LABELS)
    file = root.with_name("labels.csv")
    text = f'label,"id"\r\n7,{first}\r\n\r\n"7","{first}"\r\n8,{second},more\r\n'
    file.write_bytes(text.encode("utf-8-sig"))
    assert import_labels(root, file, "ann", VALID) == 2
    assert [vote.label for vote in votes(root)] == ["7", "8"]


@pytest.mark.parametrize(
    "table",
    [
        {"id": ["x"], "label": [7.0]},
        {"id": [1], "label": [7]},
        {"id": [None], "label": ["7"]},
        {"id": [b"x"], "label": [{"a": 1}]},
    ],
)
def test_a_parquet_file_of_other_types_imports_nothing(root: Path, table: dict[str, Any]) -> None:
    make_journal(root, IMAGES, LABELS)
    file = root.with_name("labels.parquet")
    pq.write_table(pa.table(table), file)
    with pytest.raises(UserError, match="row 1"):
        import_labels(root, file, "ann", VALID)
    assert len(votes(root)) == 0


@pytest.mark.parametrize("name", ["labels.txt", "missing.csv"])
def test_files_that_are_neither_are_refused(root: Path, name: str) -> None:
    make_journal(root, IMAGES, LABELS)
    with pytest.raises(UserError, match=name):
        import_labels(root, root.with_name(name), "ann", VALID)


def test_an_empty_journal_has_a_header(root: Path) -> None:
    make_journal(root, IMAGES[:0], LABELS[:0])
    file = root.with_name("labels.csv")
    assert export_labels(root, file) == 0
    assert file.read_text().startswith("id,")
