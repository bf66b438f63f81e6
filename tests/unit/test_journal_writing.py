"""What the writer of a journal keeps, drops and deletes."""

import errno
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.collection.votes import Vote
from pipeline.journal import writing
from pipeline.journal.entry import pixels_of
from pipeline.journal.folder import JournalFolder
from pipeline.journal.ids import following, is_kept, uuid7
from pipeline.journal.keeping import Keeping
from pipeline.journal.reading import entries, votes
from pipeline.journal.upkeep import keep_up
from pipeline.journal.writing import Answered, Model, Other, Writer
from tests.digits import make_digits
from tests.journals import START, make_journal

IMAGES, LABELS = make_digits(4, 5)
HOUR = 3600


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


def answered(first: str, images: int = 4, **changes: Any) -> Answered:
    """A request of `images` images."""
    probabilities = np.eye(10, dtype=np.float32)[LABELS[:images]]
    return Answered(
        first=first,
        seconds=1_800_000_000.25,
        model=Model("mnist-cnn", "0" * 12, "0" * 64, 7),
        images=IMAGES[:images],
        probabilities=probabilities,
        logits=2 * probabilities,
        novelty=np.arange(images, dtype=np.float32),
        verdicts=["digit"] * images,
        labels=[None, *map(str, LABELS[1:images])],
        source="page",
        address="192.0.2.1",
        latency=0.5,
    )._replace(**changes)


def read_ids(folder: JournalFolder) -> list[str]:
    found = entries(folder.root, columns=["id"])
    return [text for batch in found for text in batch["id"].to_pylist()]


def parts(folder: JournalFolder) -> list[Path]:
    return sorted(folder.parts.iterdir())


def test_requests_become_entries(folder: JournalFolder, counts: Counter[tuple[str, str]]) -> None:
    writer = make_writer(folder, counts)
    first, second = uuid7(folder.key), uuid7(folder.key)
    writer.add(answered(first))
    other = Other("1" * 12, ["9"], ["unsure"])
    writer.add(answered(second, 1, challenger=other, model=Model("m", "v", "s", None)))
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
    assert rows[4]["challenger"] == {"version": "1" * 12, "label": "9", "verdict": "unsure"}
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


def test_closing_writes_what_waits(folder: JournalFolder, counts: Counter[tuple[str, str]]) -> None:
    writer = make_writer(folder, counts)
    writer.start()
    first = uuid7(folder.key)
    writer.add(answered(first))
    writer.close()
    assert read_ids(folder) == following(first, 4)


def test_old_entries_are_deleted(folder: JournalFolder) -> None:
    make_journal(folder.root, IMAGES, LABELS, [(0, "user:a", "1")])
    for path in (*folder.parts.iterdir(), *folder.votes.iterdir()):
        path.rename(path.with_stem(uuid7(seconds=START.timestamp())))
    keep_up(folder, Keeping(days=2), START.timestamp() + 47 * HOUR)
    assert len(read_ids(folder)) == 4
    keep_up(folder, Keeping(days=2), START.timestamp() + 50 * HOUR)
    assert read_ids(folder) == []
    assert votes(folder.root) == []


def test_the_oldest_entries_are_deleted_beyond_the_bytes(folder: JournalFolder) -> None:
    made = [make_journal(folder.root, IMAGES, LABELS) for _ in range(3)]
    left = sum(path.stat().st_size for path in parts(folder)[1:])
    keep_up(folder, Keeping(megabytes=left / 1_000_000), time.time())
    assert read_ids(folder) == made[1] + made[2]


def test_files_of_an_hour_are_merged_and_no_entry_changes(folder: JournalFolder) -> None:
    for _ in range(3):
        make_journal(folder.root, IMAGES, LABELS, [(0, "user:a", "1")])
    before = [batch.to_pydict() for batch in entries(folder.root)]
    keep_up(folder, Keeping(), time.time() + 2 * HOUR)
    assert len(parts(folder)) == 1
    (batch,) = entries(folder.root)
    assert batch.to_pydict() == {
        name: [value for each in before for value in each[name]] for name in before[0]
    }
    assert (pixels_of(batch) == np.concatenate([IMAGES] * 3)).all()
    assert len(votes(folder.root)) == 3


def test_a_merge_that_was_interrupted_leaves_no_entry_twice(folder: JournalFolder) -> None:
    written = [make_journal(folder.root, IMAGES, LABELS) for _ in range(2)]
    old = {path: path.read_bytes() for path in parts(folder)}
    keep_up(folder, Keeping(), time.time() + 2 * HOUR)
    for path, content in old.items():  # as if it had been killed before it deleted them
        path.write_bytes(content)
    keep_up(folder, Keeping(), time.time() + 2 * HOUR)
    (part,) = parts(folder)
    assert pq.read_table(part)["id"].to_pylist() == written[0] + written[1]


def test_recent_files_are_left_alone(folder: JournalFolder) -> None:
    for _ in range(3):
        make_journal(folder.root, IMAGES, LABELS)
    unfinished = folder.parts / ".unfinished.parquet"
    unfinished.touch()
    keep_up(folder, Keeping(), time.time())
    assert len(parts(folder)) == 4
    keep_up(folder, Keeping(), time.time() + 2 * HOUR)
    assert not unfinished.exists()


def test_removed_entries_are_erased_from_the_files(folder: JournalFolder) -> None:
    written = make_journal(folder.root, IMAGES, LABELS, [(0, "user:a", "1"), (1, "user:a", "2")])
    folder.remove(written[0])
    keep_up(folder, Keeping(), time.time() + 2 * HOUR)
    assert list(folder.removed.iterdir()) == []
    assert read_ids(folder) == written[1:]
    assert [vote.entry for vote in votes(folder.root)] == [written[1]]


def test_a_foreign_file_is_not_deleted(folder: JournalFolder) -> None:
    foreign = folder.parts / "foreign.parquet"
    foreign.write_bytes(b"hello")
    make_journal(folder.root, IMAGES, LABELS)
    keep_up(folder, Keeping(megabytes=0), time.time() + 2 * HOUR)
    assert parts(folder) == [foreign]


def test_an_entry_that_cannot_be_one_costs_nothing_else(
    folder: JournalFolder, counts: Counter[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Votes that wait with it are written, and the next entries find room."""
    writer = make_writer(folder, counts)
    monkeypatch.setattr(writing, "WAITING_BYTES", IMAGES.size)
    (made,) = make_journal(folder.root, IMAGES[:1], LABELS[:1])
    writer.add(answered(uuid7(folder.key), labels=[None]))
    writer.vote(Vote(made, START.timestamp(), "user:a", "3"))
    with pytest.raises(ValueError, match=r"length"):
        writer.write()
    writer.add(answered(uuid7(folder.key)))
    writer.write()
    assert votes(folder.root).num_rows == 1
    assert len(read_ids(folder)) == 5
    assert counts == {
        ("entries", "failed"): 4,
        ("entries", "written"): 4,
        ("votes", "written"): 1,
    }
