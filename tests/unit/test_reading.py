"""Files are read if they fit into memory; pictures without one character carry a verdict."""

import gzip
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.core import idx
from pipeline.core.errors import UserError
from pipeline.mnist import TASK
from pipeline.pictures import reading
from pipeline.pictures.batch import batch_of
from tests.digits import Images, make_digits

FORM = TASK.form


def test_a_file_larger_than_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.npy"
    path.touch()
    os.truncate(path, 1 << 42)  # sparse: takes no disk space
    with pytest.raises(UserError, match=r"large\.npy is too large for"):
        reading.read_file(path)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=4 << 20))
    with Path("/dev/zero").open("rb") as endless:
        monkeypatch.setattr(sys, "stdin", endless)
        monkeypatch.setattr(sys.stdin, "buffer", endless, raising=False)
        with pytest.raises(UserError, match="standard input is too large"):
            reading.read_images(Path("-"), FORM)


def test_a_file_can_use_half_of_the_free_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pixels require the other half."""
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=4 << 20))
    path, half = tmp_path / "file", 2 << 20
    path.write_bytes(bytes(half))
    assert reading.read_file(path) == bytes(half)
    path.write_bytes(bytes(half + 1))
    with pytest.raises(UserError, match="file is too large for"):
        reading.read_file(path)


def test_memory_that_the_content_takes_while_it_is_read_does_not_count_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = iter([8 << 20, 8 << 20])  # before the file is opened, and before its second piece
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=next(free, 0)))
    path = tmp_path / "file"
    path.write_bytes(bytes(4 << 20))
    assert len(reading.read_file(path)) == 4 << 20


def test_data_after_a_compressed_file_is_ignored(tmp_path: Path) -> None:
    images = make_digits(3, seed=1)[0]
    content = idx.encode(images)
    packed = gzip.compress(content[:99]) + gzip.compress(content[99:])
    for tail in (b"", b"\r\n", bytes(512), b"\x1e\x8b"):
        (tmp_path / "a.idx.gz").write_bytes(packed + tail)
        assert (reading.read_images(tmp_path / "a.idx.gz", FORM) == images).all()
    (tmp_path / "a.idx.gz").write_bytes(packed[:-9])
    with pytest.raises(UserError, match="it ends too early"):
        reading.read_images(tmp_path / "a.idx.gz", FORM)


def test_pictures_without_one_character_carry_a_verdict(tmp_path: Path, ten: Images) -> None:
    """A file that cannot be read has an error, but no verdict."""
    blank, pair = np.zeros((28, 28), np.uint8), np.concatenate([ten[1], ten[3]], 1)
    names = ["digit", "blank", "pair", "text"]
    batch = batch_of(names, [ten[5], blank, pair, "text: damaged"], FORM, normalise=True)
    assert batch.verdicts == [None, "no ink", "several", None]
    assert [error is None for error in batch.errors] == [True, False, False, False]
    np.save(tmp_path / "blank.npy", np.stack([blank, blank]))
    only = reading.read_batch(tmp_path / "blank.npy", FORM, normalise=True)
    assert only.verdicts == ["no ink", "no ink"]
    assert batch_of(names[:1], ten[5:6], FORM, normalise=True).verdicts == [None]
