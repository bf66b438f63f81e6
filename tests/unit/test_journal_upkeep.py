"""What upkeep of a journal deletes, keeps, merges and erases."""

import errno
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.journal import upkeep
from pipeline.journal.entry import pixels_of
from pipeline.journal.folder import JournalFolder
from pipeline.journal.ids import uuid7
from pipeline.journal.keeping import Keeping
from pipeline.journal.reading import entries, votes
from pipeline.journal.upkeep import keep_up
from tests.digits import make_digits
from tests.journals import START, add_votes, make_journal

IMAGES, LABELS = make_digits(4, 5)
HOUR = 3600


@pytest.fixture
def folder(tmp_path: Path) -> JournalFolder:
    return JournalFolder.create(tmp_path / "journal")


def read_ids(folder: JournalFolder) -> list[str]:
    found = entries(folder.root, columns=["id"])
    return [text for batch in found for text in batch["id"].to_pylist()]


def parts(folder: JournalFolder) -> list[Path]:
    return sorted(folder.parts.iterdir())


def age(folder: JournalFolder, seconds: float = START.timestamp()) -> None:
    """Rename the new files, in their order, as if they had been written then."""
    for files in (folder.parts, folder.votes):
        for number, path in enumerate(sorted(files.iterdir())):
            path.rename(path.with_stem(uuid7(seconds=seconds + number / 100)))


def test_old_entries_are_deleted_but_not_those_with_votes(folder: JournalFolder) -> None:
    written = make_journal(folder.root, IMAGES, LABELS, [(1, "user:a", "1")])
    gone = uuid7(folder.key, START.timestamp())
    add_votes(folder.root, [(gone, "user:a", "1")])  # the entry was not kept
    age(folder)
    before = [row for batch in entries(folder.root) for row in batch.to_pylist()]
    keep_up(folder, Keeping(days=2), START.timestamp() + 47 * HOUR)
    assert len(read_ids(folder)) == 4
    for hours in (50, 500, 5000):
        keep_up(folder, Keeping(days=2), START.timestamp() + hours * HOUR)
        (batch,) = entries(folder.root)
        assert batch.to_pylist() == before[1:2]
        assert (pixels_of(batch) == IMAGES[1:2]).all()
        assert [vote.entry for vote in votes(folder.root)] == [written[1]]


def test_votes_stay_as_long_as_their_entry(folder: JournalFolder) -> None:
    """They may be in a file that is older than that of the entry."""
    made = make_journal(folder.root, IMAGES, LABELS)
    add_votes(folder.root, [(made[0], "user:a", "1")])
    for path in folder.votes.iterdir():
        path.rename(path.with_stem(uuid7(seconds=START.timestamp())))
    keep_up(folder, Keeping(days=2), START.timestamp() + 100 * HOUR)
    age(folder, START.timestamp() + 1)
    add_votes(folder.root, [(made[0], "user:b", "2")])
    keep_up(folder, Keeping(days=2), START.timestamp() + 200 * HOUR)
    age(folder, START.timestamp() + 2)
    keep_up(folder, Keeping(days=2), START.timestamp() + 300 * HOUR)
    assert read_ids(folder) == made[:1]
    assert [vote.voter for vote in votes(folder.root)] == ["user:a", "user:b"]


def test_the_oldest_entries_are_deleted_beyond_the_bytes(folder: JournalFolder) -> None:
    made = [make_journal(folder.root, IMAGES, LABELS) for _ in range(3)]
    add_votes(folder.root, [(made[0][2], "user:a", "1"), (made[2][2], "user:a", "1")])
    left = sum(path.stat().st_size for path in parts(folder)[1:])
    keep_up(folder, Keeping(megabytes=left / 1_000_000), time.time())
    assert read_ids(folder) == [made[0][2], *made[1], *made[2]]
    assert len(parts(folder)) == 2
    assert len(votes(folder.root)) == 2


def test_labelled_entries_have_a_limit_of_their_own(folder: JournalFolder) -> None:
    made = [make_journal(folder.root, IMAGES, LABELS, [(0, "user:a", "1")]) for _ in range(3)]
    everything = Keeping(megabytes=0)
    keep_up(folder, everything, time.time() + 2 * HOUR)
    assert read_ids(folder) == [ids[0] for ids in made]
    keep_up(folder, everything, time.time() + 2000 * HOUR)
    sizes = [path.stat().st_size for path in sorted(folder.labelled_parts.iterdir())]
    keeping = Keeping(megabytes=0, labelled_megabytes=sum(sizes[1:]) / 1_000_000)
    keep_up(folder, keeping, time.time() + 2000 * HOUR)
    assert read_ids(folder) == [ids[0] for ids in made[1:]]
    assert [vote.entry for vote in votes(folder.root)] == [ids[0] for ids in made[1:]]


def test_labelled_entries_are_merged_and_erased(folder: JournalFolder) -> None:
    made = []
    for number in range(3):
        made.append(make_journal(folder.root, IMAGES, LABELS, [(0, "user:a", "1")])[0])
        age(folder, START.timestamp() + number)
        keep_up(folder, Keeping(days=2), START.timestamp() + 100 * HOUR)
    assert len(list(folder.labelled_parts.iterdir())) == 3
    folder.remove(made[1])
    assert read_ids(folder) == [made[0], made[2]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep, "MANY", 2)
        keep_up(folder, Keeping(days=2), time.time() + 100 * HOUR)
    (part,), (file,) = folder.labelled_parts.iterdir(), folder.labelled_votes.iterdir()
    for path in (part, file):
        assert pq.read_table(path)["id"].to_pylist() == [made[0], made[2]]


@pytest.mark.parametrize("after", range(1, 8))
def test_upkeep_that_is_killed_loses_nothing_and_is_repeated(
    folder: JournalFolder, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """It is killed before a file is replaced or deleted: any of those that it touches."""
    made = [
        make_journal(folder.root, IMAGES, LABELS, [(place, "user:a", "1")]) for place in range(2)
    ]
    age(folder)
    labelled = [made[0][0], made[1][1]]
    left = after
    later = START.timestamp() + 100 * HOUR

    def killed(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            return method(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for name in ("replace", "unlink"):
            patch.setattr(Path, name, killed(getattr(Path, name)))
        with suppress(KeyboardInterrupt):
            keep_up(folder, Keeping(days=2), later)
    found = read_ids(folder)
    assert len(found) == len(set(found))
    assert set(labelled) <= set(found)
    assert [vote.entry for vote in votes(folder.root)] == labelled
    keep_up(folder, Keeping(days=2), later)
    assert parts(folder) == list(folder.votes.iterdir()) == []
    for files in (folder.labelled_parts, folder.labelled_votes):  # none is in two files
        kept = pa.concat_tables([pq.read_table(path) for path in sorted(files.iterdir())])
        assert kept["id"].to_pylist() == labelled


def test_a_full_disk_stops_no_deletion(
    folder: JournalFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [make_journal(folder.root, IMAGES, LABELS) for _ in range(3)]
    add_votes(folder.root, [(made[0][0], "user:a", "1")])

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(pq, "write_table", fail)
        with pytest.raises(OSError, match="No space"):
            keep_up(folder, Keeping(megabytes=0), time.time() + 2 * HOUR)
        assert read_ids(folder) == made[0]
    keep_up(folder, Keeping(megabytes=0), time.time() + 2 * HOUR)
    assert read_ids(folder) == [made[0][0]]
    assert len(votes(folder.root)) == 1


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


def test_a_clock_that_was_set_back_delays_no_erasure(folder: JournalFolder) -> None:
    made = make_journal(folder.root, IMAGES, LABELS)
    folder.remove(made[0])
    (folder.parts / ".unfinished.parquet").touch()
    keep_up(folder, Keeping(), time.time() - 2 * HOUR)
    (part,) = parts(folder)
    assert pq.read_table(part)["id"].to_pylist() == made[1:]
    assert list(folder.removed.iterdir()) == []
