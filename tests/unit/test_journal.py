"""A journal on disk: what readers of it get, whatever else is in the folder."""

import errno
import shutil
import uuid
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import UserError
from pipeline.journal import folder as folders
from pipeline.journal import ids
from pipeline.journal.entry import ENTRY_SCHEMA, pixels_of
from pipeline.journal.folder import JournalFolder, write_whole
from pipeline.journal.reading import entries, votes
from tests.digits import make_digits
from tests.journals import START, add_votes, make_journal

IMAGES, LABELS = make_digits(6, 3)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def read_ids(root: Path) -> list[str]:
    return [text for batch in entries(root, columns=["id"]) for text in batch["id"].to_pylist()]


def test_readers_get_what_was_written(root: Path) -> None:
    written = make_journal(root, IMAGES, LABELS)
    (batch,) = entries(root)
    assert batch.schema.remove_metadata() == ENTRY_SCHEMA
    assert batch["id"].to_pylist() == written
    assert (pixels_of(batch) == IMAGES).all()
    assert batch["label"].to_pylist() == [str(label) for label in LABELS]


def test_readers_get_the_entries_and_columns_they_ask_for(root: Path) -> None:
    written = make_journal(root, IMAGES, LABELS)
    (batch,) = entries(root, since=START + timedelta(seconds=2), columns=["label"])
    assert batch.schema.names == ["label"]
    assert batch.num_rows == 4
    (batch,) = entries(root, ids=written[1:3], columns=["id"])
    assert batch["id"].to_pylist() == written[1:3]


def test_an_entry_in_two_files_is_read_once(root: Path) -> None:
    written = make_journal(root, IMAGES, LABELS)
    folder = JournalFolder.existing(root)
    write_whole(pq.read_table(next(folder.parts.iterdir())), folder.parts)
    assert read_ids(root) == written


def test_removed_entries_are_not_read_nor_their_votes(root: Path) -> None:
    written = make_journal(root, IMAGES, LABELS, [(0, "user:a", "1"), (1, "user:a", "1")])
    JournalFolder.existing(root).remove(written[0])
    assert read_ids(root) == written[1:]
    assert [vote.entry for vote in votes(root)] == [written[1]]


def test_torn_and_foreign_files_are_skipped(root: Path) -> None:
    written = make_journal(root, IMAGES, LABELS)
    parts = JournalFolder.existing(root).parts
    (part,) = parts.iterdir()
    (parts / "torn.parquet").write_bytes(part.read_bytes()[:2000])
    (parts / "empty.parquet").write_bytes(b"")
    (parts / "notes.txt").write_text("hello")
    pq.write_table(pa.table({"id": ["x"]}), parts / "foreign.parquet")
    pq.write_table(pa.table({"id": ["x"]}), parts / ".unfinished.parquet")
    assert read_ids(root) == written


def test_the_latest_vote_of_each_voter_counts(root: Path) -> None:
    first, *_ = make_journal(root, IMAGES, LABELS)
    add_votes(root, [(first, "user:a", "1"), (first, "user:b", "2")])
    add_votes(root, [(first, "user:a", "3")])
    found = [(vote.voter, vote.label) for vote in votes(root)]
    assert found == [("user:b", "2"), ("user:a", "3")]


def test_a_folder_of_something_else_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match="journal"):
        JournalFolder.create(tmp_path)
    with pytest.raises(UserError, match="journal"):
        next(entries(tmp_path))


def test_the_key_stays_and_only_the_owner_reads_it(root: Path) -> None:
    first, again = JournalFolder.create(root), JournalFolder.create(root)
    assert first.key == again.key
    assert first.key_file.stat().st_mode & 0o777 == 0o600
    assert JournalFolder.create(root.with_name("other")).key != first.key


def test_clients_are_told_apart_but_not_within_a_network_of_ipv6(root: Path) -> None:
    folder = JournalFolder.create(root)
    assert folder.client("192.0.2.1") == folder.client("192.0.2.1")
    assert folder.client("192.0.2.1") != folder.client("192.0.2.2")
    assert folder.client("2001:db8::1") == folder.client("2001:db8::2")
    assert folder.client("2001:db8::1") != folder.client("2001:db8:0:1::1")
    assert folder.client("::ffff:192.0.2.1") == folder.client("192.0.2.1")
    assert JournalFolder.create(root.with_name("other")).client("192.0.2.1") != folder.client(
        "192.0.2.1"
    )


def test_ids_are_uuids_that_sort_by_time() -> None:
    made = [ids.uuid7(b"key", seconds) for seconds in (1.5, 1.6, 1000.0)]
    assert sorted(made) == made
    assert [ids.seconds_of(text) for text in made] == [1.5, 1.6, 1000.0]
    for text in ids.following(made[0], 3):
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)


def test_ids_belong_to_one_journal() -> None:
    first = ids.uuid7(b"key")
    for text in ids.following(first, 8192):
        assert ids.is_from(text, b"key")
    assert not ids.is_from(first, b"other")
    assert not ids.is_from(first.upper(), b"key")
    assert not ids.is_from("hello", b"key")
    assert not ids.is_from(str(uuid.uuid4()), b"key")


def test_ids_do_not_repeat() -> None:
    made = [text for _ in range(1000) for text in ids.following(ids.uuid7(b"key"), 3)]
    assert len(set(made)) == 3000


def test_shares_are_uniform() -> None:
    shares = np.array([ids.share(ids.uuid7()) for _ in range(4000)])
    assert abs((shares < 0.05).mean() - 0.05) < 0.02
    assert abs((shares < 0.5).mean() - 0.5) < 0.05


def test_a_folder_that_was_deleted_begins_anew_with_the_same_key(root: Path) -> None:
    folder = JournalFolder.create(root)
    shutil.rmtree(root)
    (written,) = make_journal(tmp := root.with_name("other"), IMAGES[:1], LABELS[:1])
    folder.write_part(pq.read_table(next(JournalFolder.existing(tmp).parts.iterdir())))
    assert read_ids(root) == [written]
    shutil.rmtree(root)
    folder.remove(written)
    again = JournalFolder.create(root)
    assert again.key == folder.key
    assert again.removed_ids() == {written}


def test_a_folder_that_cannot_be_written_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    JournalFolder.create(root)
    monkeypatch.setattr(folders, "NamedTemporaryFile", fail)
    with pytest.raises(UserError, match="cannot be written"):
        JournalFolder.create(root)


def test_a_part_whose_images_have_another_form_is_skipped(root: Path) -> None:
    made = make_journal(root, IMAGES, LABELS)
    make_journal(root, IMAGES, LABELS, columns={"pixels": [b"abc"] * len(IMAGES)})
    assert [each for batch in entries(root) for each in batch["id"].to_pylist()] == made
