"""What the writer of a journal keeps, drops and deletes."""

import errno
from collections import Counter
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.collection.votes import Vote
from pipeline.inference.classifier import Predictions
from pipeline.journal import writing
from pipeline.journal.columns import Answered, Model, Ticket
from pipeline.journal.entry import pixels_of
from pipeline.journal.folder import JournalFolder
from pipeline.journal.ids import following, is_kept, uuid7
from pipeline.journal.keeping import Keeping
from pipeline.journal.reading import entries, votes
from pipeline.journal.writing import Writer
from tests.digits import make_digits
from tests.journals import START, make_journal

IMAGES, LABELS = make_digits(4, 5)


@pytest.fixture
def folder(tmp_path: Path) -> JournalFolder:
    return JournalFolder.create(tmp_path / "journal")


@pytest.fixture
def counts() -> Counter[tuple[str, str]]:
    return Counter()


def make_writer(
    folder: JournalFolder, counts: Counter[tuple[str, str]], keeping: Keeping | None = None
) -> Writer:
    def count(kind: str, result: str, number: int) -> None:
        counts[kind, result] += number

    return Writer(folder, keeping or Keeping(), count)


MODEL = Model("mnist-cnn", "0" * 12, "0" * 64, 7)


def predictions(images: int, labels: list[str | None]) -> Predictions:
    """Answers to so many images."""
    probabilities = np.eye(10, dtype=np.float32)[LABELS[:images]]
    return Predictions(
        verdicts=["digit"] * images,
        classes=np.asarray(LABELS[:images]),
        labels=labels,
        confidences=np.ones(images, np.float32),
        sets=probabilities > 0,
        novelty=np.arange(images, dtype=np.float32),
        probabilities=probabilities,
        logits=2 * probabilities,
    )


def answered(
    first: str,
    images: int = 4,
    labels: list[str | None] | None = None,
    model: Model = MODEL,
    challenger: tuple[str, Predictions] | None = None,
) -> Answered:
    """A request of `images` images."""
    ticket = Ticket(first, 1_800_000_000.25, "page", "192.0.2.1")
    labels = labels or [None, *map(str, LABELS[1:images])]
    return Answered(ticket, model, IMAGES[:images], predictions(images, labels), 0.5, challenger)


def read_ids(folder: JournalFolder) -> list[str]:
    found = entries(folder.root, columns=["id"])
    return [text for batch in found for text in batch["id"].to_pylist()]


def parts(folder: JournalFolder) -> list[Path]:
    return sorted(folder.parts.iterdir())


def test_requests_become_entries(folder: JournalFolder, counts: Counter[tuple[str, str]]) -> None:
    writer = make_writer(folder, counts)
    first, second = uuid7(folder.key), uuid7(folder.key)
    writer.add(answered(first))
    other = "1" * 12, predictions(1, ["9"])
    writer.add(answered(second, 1, None, Model("m", "v", "s", None), other))
    writer.write()
    assert len(parts(folder)) == 1
    (batch,) = entries(folder.root)
    rows = batch.to_pylist()
    assert [row["id"] for row in rows] == [*following(first, 4), second]
    assert (pixels_of(batch) == np.concatenate([IMAGES, IMAGES[:1]])).all()
    assert rows[2]["probabilities"] == np.eye(10)[LABELS[2]].tolist()
    assert rows[2]["logits"] == (2 * np.eye(10)[LABELS[2]]).tolist()
    assert [row["novelty"] for row in rows] == [0, 1, 2, 3, 0]
    assert [row["label"] for row in rows[:2]] == [None, str(LABELS[1])]
    assert [row["release"] for row in rows] == [7, 7, 7, 7, None]
    assert rows[0]["time"].timestamp() == 1_800_000_000.25
    assert rows[0]["client"] == folder.client("192.0.2.1")
    assert rows[3]["challenger"] is None
    assert rows[4]["challenger"] == {"version": "1" * 12, "label": "9", "verdict": "digit"}
    assert counts == {("entries", "written"): 5}


def test_a_share_is_kept_by_id(folder: JournalFolder, counts: Counter[tuple[str, str]]) -> None:
    writer = make_writer(folder, counts, Keeping(share=0.5))
    made = [uuid7(folder.key) for _ in range(40)]
    for first in made:
        writer.add(answered(first, 1))
    writer.write()
    kept = [text for text in made if is_kept(text, 0.5)]
    assert read_ids(folder) == kept
    assert 0 < len(kept) < 40


def test_a_full_queue_drops_and_counts(
    folder: JournalFolder, counts: Counter[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "WAITING_BYTES", 5 * IMAGES[0].size)
    monkeypatch.setattr(writing, "WAITING_VOTES", 1)
    writer = make_writer(folder, counts)
    first = uuid7(folder.key)
    for _ in range(2):  # the queue is empty again after each part
        writer.add(answered(first))
        writer.add(answered(uuid7(folder.key)))
        assert writer.vote(Vote(first, START, "user:a", "1"))
        assert not writer.vote(Vote(first, START, "user:b", "1"))
        writer.write()
    assert read_ids(folder) == following(first, 4)
    assert counts["entries", "dropped"] == 8
    assert counts["votes", "dropped"] == 2


def test_a_full_disk_loses_entries_but_no_votes(
    folder: JournalFolder, counts: Counter[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make_writer(folder, counts)
    first = uuid7(folder.key)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(pq, "write_table", fail)
        writer.add(answered(first))
        writer.vote(Vote(first, START, "user:a", "1"))
        writer.write()
    assert list(folder.root.rglob("*.parquet")) == []
    writer.add(answered(first))
    writer.vote(Vote(first, START + timedelta(seconds=1), "user:a", "2"))
    writer.write()
    assert read_ids(folder) == following(first, 4)
    assert [vote.label for vote in votes(folder.root)] == ["2"]
    assert counts == {
        ("entries", "failed"): 4,
        ("entries", "written"): 4,
        ("votes", "written"): 2,
    }


def test_the_latest_vote_counts_also_after_the_clock_was_set_back(
    folder: JournalFolder, counts: Counter[tuple[str, str]]
) -> None:
    writer, first = make_writer(folder, counts), uuid7(folder.key)
    for seconds, label in ((5000, "1"), (1000, "2"), (1001, "3")):
        writer.vote(Vote(first, START + timedelta(seconds=seconds), "user:a", label))
        writer.write()
    assert [vote.label for vote in votes(folder.root)] == ["3"]


def test_closing_writes_what_waits(folder: JournalFolder, counts: Counter[tuple[str, str]]) -> None:
    writer = make_writer(folder, counts)
    writer.start()
    first = uuid7(folder.key)
    writer.add(answered(first))
    writer.close()
    assert read_ids(folder) == following(first, 4)


def test_an_entry_that_cannot_be_one_costs_nothing_else(
    folder: JournalFolder, counts: Counter[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Votes that wait with it are written, and the next entries find room."""
    writer = make_writer(folder, counts)
    monkeypatch.setattr(writing, "WAITING_BYTES", IMAGES.size)
    (made,) = make_journal(folder.root, IMAGES[:1], LABELS[:1])
    writer.add(answered(uuid7(folder.key), labels=[None]))
    writer.vote(Vote(made, START, "user:a", "3"))
    with pytest.raises(ValueError, match=r"length"):
        writer.write()
    writer.add(answered(uuid7(folder.key)))
    writer.write()
    assert len(votes(folder.root)) == 1
    assert len(read_ids(folder)) == 5
    assert counts == {
        ("entries", "failed"): 4,
        ("entries", "written"): 4,
        ("votes", "written"): 1,
    }
