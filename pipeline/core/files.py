"""Atomic writes: a temporary file or folder next to the target is synced to disk, then renamed."""

import csv
import ctypes
import errno
import hashlib
import io
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline.core.errors import UserError

REPRO = "; `dvc repro` makes it"  # what to do about a file that a stage writes
# why a folder cannot be renamed: it is a mount point, on another file system, or not ours to rename
NO_EXCHANGE = {errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS, errno.EINVAL}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path next to `path`, which it replaces when the block ends without an error.

    Where `path` is a link, it takes the place of the file that the link names, unless that is
    write-protected, as DVC's cache is. UserError if `path` exists and is not a regular file.
    """
    target = _destination(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}{target.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(target)
            _sync(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        full_disk = error.errno is not None and error.filename is None  # which names no file
        if full_disk or error.filename == str(temporary):
            error.filename = str(path)
        raise


@contextmanager
def replacing_directory(path: Path, last: Sequence[str] = ()) -> Iterator[Path]:
    """An empty folder for files, which replaces `path` when the block ends without an error.

    All is on disk before that, and the old folder is deleted after it. Where `path` is a link, the
    folder that it names is replaced. A folder that cannot be exchanged, such as a mount point,
    gets the files one by one, those that `last` names after all others, and keeps its other files.
    """
    target = Path(os.path.realpath(path))
    target.mkdir(parents=True, exist_ok=True)
    with _scratch_directory(target) as scratch:
        new = Path(scratch) / target.name
        new.mkdir()
        yield new
        for file in new.iterdir():
            _sync(file)
        _sync(new)
        try:
            exchange_directories(new, target)
        except OSError as error:
            if error.errno not in NO_EXCHANGE:
                raise
            _replace_files(new, target, last)
        _sync(target.parent)


def exchange_directories(new: Path, target: Path) -> None:
    """Let the directory `new` take the place of `target`, which is then at `new`.

    Both must be on one file system. On Linux this is one indivisible step (RENAME_EXCHANGE);
    elsewhere two, and a crash between them leaves the old content next to its place.
    """
    at_cwd, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of <linux/fcntl.h> and <linux/fs.h>
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None or renameat2(at_cwd, bytes(new), at_cwd, bytes(target), exchange) != 0:
        aside = new.with_name(f"{new.name}.old")
        target.rename(aside)
        try:
            new.rename(target)
        except BaseException:
            aside.rename(target)
            raise
        aside.rename(new)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON; not-a-number is refused with a ValueError."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_text(path: Path) -> str:
    """The text of a file in UTF-8; UserError if it is missing or no such text."""
    try:
        return existing(path, REPRO).read_text(encoding="utf-8")
    except ValueError as error:
        raise UserError(f"{path} is corrupt ({error}){REPRO} anew") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file; UserError if it is missing or broken."""
    try:
        return json.loads(existing(path, REPRO).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}){REPRO} anew") from error


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows, all with the keys of the first, under a line of column names."""
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0].keys() if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, table.getvalue())


def read_csv(
    path: Path, texts: Collection[str] = (), columns: Collection[str] = ()
) -> list[dict[str, Any]]:
    """The rows of a CSV file of numbers, as floats, but for columns of text.

    UserError if it is missing, holds anything else, or its rows lack one of `columns`.
    """
    with existing(path, REPRO).open(newline="", encoding="utf-8") as file:
        try:
            rows = [
                {name: value if name in texts else float(value) for name, value in row.items()}
                for row in csv.DictReader(file)
            ]
        except (TypeError, ValueError, csv.Error) as error:
            raise UserError(f"{path} is corrupt ({error}){REPRO} anew") from error
    if rows and (missing := [name for name in columns if name not in rows[0]]):
        raise UserError(f"{path} has no column {missing[0]}{REPRO} anew")
    return rows


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file; UserError if it is missing or broken."""
    from safetensors import SafetensorError  # which predicting does not need
    from safetensors.numpy import load_file

    try:
        return load_file(existing(path, REPRO))
    except SafetensorError as error:
        raise UserError(f"{path} is corrupt ({error}){REPRO} anew") from error


def read_checksums(path: Path) -> dict[str, str]:
    """The SHA-256 of each file that a SHA256SUMS lists, by name; UserError if that is no text."""
    try:
        lines = existing(path).read_text(encoding="utf-8-sig").splitlines()
    except ValueError as error:
        raise UserError(f"{path} is no text in UTF-8: `sha256sum` makes such a file") from error
    found = {}
    for line in lines:
        digest, _, name = line.strip().partition(" ")
        name = name.strip().removeprefix("*").removeprefix("./")  # `*`: `sha256sum -b`
        found[name] = digest.lower()
    return found


def existing(path: Path, remedy: str = "") -> Path:
    """`path` itself; UserError, which ends in `remedy`, if there is no such file."""
    if path.is_file():
        return path
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a file")
    raise UserError(f"{path} is missing{remedy}")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal; UserError if it is missing."""
    with existing(path, REPRO).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _destination(path: Path) -> Path:
    """The file to replace when `path` is written: what a link names, if that may be written."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:  # nothing there yet, or not what a link names
        mode = stat.S_IFREG | stat.S_IWUSR
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is not a regular file: nothing is written there")
    writable = mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    return Path(os.path.realpath(path)) if path.is_symlink() and writable else path


def _scratch_directory(target: Path) -> "tempfile.TemporaryDirectory[str]":
    """A folder next to `target`, to be exchanged with it; in it where its parent is read-only."""
    prefix = f".{target.name}-"
    try:
        return tempfile.TemporaryDirectory(dir=target.parent, prefix=prefix)
    except OSError as error:
        if error.errno not in NO_EXCHANGE:
            raise
        return tempfile.TemporaryDirectory(dir=target, prefix=prefix)


def _replace_files(new: Path, target: Path, last: Sequence[str]) -> None:
    """Copy the files of `new` to `target`: all are there in full before the first is replaced."""
    first = sorted(file.name for file in new.iterdir() if file.name not in last)
    with ExitStack() as stack:  # which ends the block begun last first
        for name in reversed([*first, *last]):
            stack.enter_context(replacing(target / name)).write_bytes((new / name).read_bytes())


def _sync(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a file system that cannot do so for a folder
            raise
    finally:
        os.close(descriptor)
