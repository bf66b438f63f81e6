"""Files are written completely or not at all: after exceptions, on full and on failing disks."""

import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from safetensors.numpy import save

from pipeline.core import files
from pipeline.core.errors import UserError
from tests.folders import content

WRITERS: dict[str, tuple[Callable[[Path, Any], None], Any, bytes]] = {
    "bytes": (files.write_bytes, b"\0new\n", b"\0new\n"),
    "text": (files.write_text, "näu\n", b"n\xc3\xa4u\n"),
    "JSON": (files.write_json, {"new": [1, 0.5]}, b'{\n  "new": [\n    1,\n    0.5\n  ]\n}\n'),
    "CSV": (files.write_csv, [{"a": 1, "b": 0.5}], b"a,b\n1,0.5\n"),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("old", [None, b"old and longer than what is new"])
def test_writing_creates_the_file_and_nothing_else(
    old: bytes | None, kind: str, tmp_path: Path
) -> None:
    write, value, written = WRITERS[kind]
    path = tmp_path / "new" / "folder" / "file"
    if old is not None:
        path.parent.mkdir(parents=True)
        path.write_bytes(old)
    write(path, value)
    assert content(tmp_path) == {"new/folder/file": written}


def test_a_signal_just_after_the_temporary_file_exists_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(descriptor: int) -> None:
        monkeypatch.undo()
        os.close(descriptor)
        raise SystemExit

    monkeypatch.setattr(os, "close", stopped)
    with pytest.raises(SystemExit):
        files.write_bytes(tmp_path / "file", b"new")
    assert content(tmp_path) == {}


@pytest.mark.parametrize("old", [{}, {"file": b"old"}])
@pytest.mark.parametrize("interruption", [OSError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_old_file_unchanged(
    interruption: type[BaseException], old: dict[str, bytes], tmp_path: Path
) -> None:
    for name, data in old.items():
        (tmp_path / name).write_bytes(data)

    def write_half() -> None:
        with files.replacing(tmp_path / "file") as temporary:
            temporary.write_bytes(b"half of the new conte")
            raise interruption

    with pytest.raises(interruption):
        write_half()
    assert content(tmp_path) == old


def test_not_a_number_is_refused_in_json(tmp_path: Path) -> None:
    files.write_json(tmp_path / "report.json", {"accuracy": 0.99})
    before = content(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "report.json", {"accuracy": float("nan")})
    assert content(tmp_path) == before


def test_until_the_block_ends_readers_see_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        with files.replacing(path) as temporary:
            temporary.write_bytes(b"new")
            assert path.read_bytes() == b"old"
        assert path.read_bytes() == b"new"
        assert reader.read() == b"old"


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_linked_files_in_dvcs_cache_are_not_overwritten(
    link: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    cached, path = tmp_path / "cached", tmp_path / "file"
    cached.write_bytes(b"old")
    cached.chmod(0o444)  # as DVC does
    link(cached, path)
    files.write_bytes(path, b"new")
    assert content(tmp_path) == {"cached": b"old", "file": b"new"}


@pytest.mark.parametrize("there", [True, False])
def test_writing_through_a_link_replaces_its_target(there: bool, tmp_path: Path) -> None:
    """A params.yaml or a report can be a link to another folder."""
    kept = tmp_path / "elsewhere" / "kept"
    kept.parent.mkdir()
    if there:
        kept.write_bytes(b"old")
    (tmp_path / "second").symlink_to("elsewhere/kept")
    (tmp_path / "first").symlink_to("second")
    files.write_bytes(tmp_path / "first", b"new")
    assert (tmp_path / "first").is_symlink()
    assert (tmp_path / "second").is_symlink()
    assert content(tmp_path / "elsewhere") == {"kept": b"new"}


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "device", "socket", "folder"])
def test_special_files_and_folders_are_refused(kind: str, tmp_path: Path) -> None:
    path, name = tmp_path / "path", tmp_path / "name"
    if "pipe" in kind:
        os.mkfifo(path)
    elif kind == "device":
        try:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # another /dev/null
        except PermissionError:
            pytest.skip("only root may make a device")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(path))
    else:
        path.mkdir()
    if kind.startswith("link"):
        name.symlink_to(path)
    else:
        name = path
    before = name.lstat()
    with pytest.raises(UserError, match=f"{name} is not a regular file"):
        files.write_bytes(name, b"new")
    assert name.lstat().st_ino == before.st_ino
    assert name.lstat().st_mode == before.st_mode


def test_errors_name_the_affected_file(tmp_path: Path) -> None:
    """A missing input is not reported as an error of the output."""
    with pytest.raises(FileNotFoundError) as error, files.replacing(tmp_path / "output"):
        (tmp_path / "input").read_bytes()
    assert error.value.filename == str(tmp_path / "input")
    with pytest.raises(FileNotFoundError) as error, files.replacing(tmp_path / "output") as written:
        written.unlink()
    assert error.value.filename == str(tmp_path / "output")


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The calls that sync and rename, in order, with their inodes."""
    done: list[tuple[str, int]] = []

    def watch(owner: Any, name: str, inode: Callable[[Any], int]) -> None:
        original = getattr(owner, name)

        def watched(first: Any, *others: Any) -> Any:
            done.append((name, inode(first)))
            return original(first, *others)

        monkeypatch.setattr(owner, name, watched)

    watch(os, "fsync", lambda descriptor: os.fstat(descriptor).st_ino)
    watch(Path, "replace", lambda path: path.stat().st_ino)
    watch(Path, "rename", lambda path: path.stat().st_ino)
    return done


def test_a_file_is_synced_before_and_its_folder_after_the_rename(
    tmp_path: Path, on_disk: list[tuple[str, int]]
) -> None:
    """Otherwise a power failure could leave an empty file."""
    files.write_bytes(tmp_path / "file", b"new")
    file, folder = (tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino
    assert on_disk == [("fsync", file), ("replace", file), ("fsync", folder)]


def test_a_folder_is_synced_with_its_files_before_the_rename_and_its_parent_after(
    tmp_path: Path, on_disk: list[tuple[str, int]]
) -> None:
    """Otherwise a power failure could leave a release with empty files."""
    new, target = tmp_path / "new", tmp_path / "3"
    new.mkdir()
    for name in ("model", "card"):
        (new / name).write_text(name)
    files.publish_directory(new, target)
    inodes = {path.stat().st_ino for path in (target, *target.iterdir())}
    moment = on_disk.index(("rename", target.stat().st_ino))
    assert set(on_disk[:moment]) == {("fsync", inode) for inode in inodes}
    assert on_disk[moment + 1 :] == [("fsync", tmp_path.stat().st_ino)]
    assert content(tmp_path) == {"3/model": b"model", "3/card": b"card"}


def test_a_failed_sync_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that does not support syncing folders is not an error."""
    files.write_bytes(tmp_path / "file", b"old")
    answer = errno.EIO

    def fail(descriptor: int) -> None:
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(os, "fsync", fail)
    before, opened = content(tmp_path), psutil.Process().num_fds()
    with pytest.raises(OSError, match="Input/output error") as error:
        files.write_bytes(tmp_path / "file", b"new")
    assert error.value.filename == str(tmp_path / "file")
    assert content(tmp_path) == before
    answer = errno.EINVAL
    files.write_bytes(tmp_path / "file", b"new")
    assert content(tmp_path) == {"file": b"new"}
    assert psutil.Process().num_fds() == opened


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_new_files_respect_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        files.write_bytes(tmp_path / "file", b"new")
        assert os.umask(umask) == umask  # unchanged
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize(
    ("read", "broken"),
    [
        (files.read_json, b'{"accuracy": 0.9'),
        (files.read_json, b"\xff\xfe"),
        (files.read_csv, b"epoch,loss\n1,0.5\n2\n"),
        (files.read_csv, b"epoch,loss\n1,0.5,7\n"),
        (files.read_csv, b"epoch,loss\n1,low\n"),
        (files.read_csv, b"epoch,loss\n1,\xff\n"),
        (files.read_csv, b"epoch,loss\n1," + b"1" * 200_000),  # too long for a field
        (files.read_text, b"\xff"),
        (files.read_tensors, b""),
        (files.read_tensors, b"<!doctype html>"),
        (files.read_tensors, save({"images": np.zeros((2, 28, 28), np.uint8)})[:-1]),
    ],
)
def test_a_broken_or_missing_file_is_reported_in_one_line(
    read: Callable[[Path], Any], broken: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    with pytest.raises(UserError, match=rf"^{path} is missing.*`dvc repro`.*$"):
        read(path)
    path.write_bytes(broken)
    with pytest.raises(UserError, match=rf"^{path} is .*`dvc repro`[^\n]*$"):
        read(path)


def test_a_missing_user_file_is_reported_without_dvc_advice(tmp_path: Path) -> None:
    """`dvc repro` creates neither params.yaml nor a model given by its path."""
    for remedy in ("", "; name another"):
        with pytest.raises(UserError, match=rf"^{tmp_path}/a is missing{remedy}$"):
            files.existing(tmp_path / "a", remedy)
    with pytest.raises(UserError, match=rf"^{tmp_path} is a folder, not a file$"):
        files.existing(tmp_path)
