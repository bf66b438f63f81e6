"""Atomic writes: sync a temporary file or folder next to the target to disk, then rename it."""

import csv
import errno
import hashlib
import io
import json
import os
import secrets
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline.core.errors import UserError

REPRO = "; run `dvc repro`"  # the remedy for a file that a stage writes


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file, which replaces `path` if the block ends without an error.

    If `path` is a link, the file it points to is replaced or, if that is write-protected, as in
    DVC's cache, the link itself. UserError if `path` exists and is not a regular file.
    """
    target = _destination(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}{target.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:  # a signal can raise as soon as the file exists
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield temporary
            sync(temporary)
            temporary.replace(target)
            sync(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        full_disk = error.errno is not None and error.filename is None
        if full_disk or error.filename == str(temporary):
            error.filename = str(path)
        raise


def publish_directory(new: Path, target: Path) -> None:
    """Rename the folder of files `new` to `target`, which must not exist.

    Files and folder are synced first: after a power loss, `target` is complete or missing.
    """
    for path in sorted(new.iterdir()):
        sync(path)
    sync(new)
    new.rename(target)
    sync(target.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON. ValueError for NaN or infinity."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file. UserError if it is missing or not UTF-8."""
    try:
        return existing(path, REPRO).read_text(encoding="utf-8")
    except ValueError as error:
        raise UserError(f"{path} is corrupt ({error}){REPRO}") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file. UserError if it is missing or broken."""
    try:
        return json.loads(existing(path, REPRO).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}){REPRO}") from error


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Collection[str] = ()) -> None:
    """Write a header and rows, which all have the keys of the first row, or `columns` if none."""
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0].keys() if rows else columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, table.getvalue())


def read_csv(
    path: Path, texts: Collection[str] = (), columns: Collection[str] = ()
) -> list[dict[str, Any]]:
    """The rows of a CSV file: strings in the columns `texts`, floats in all others.

    UserError if the file is missing, has other values, or lacks one of `columns`.
    """
    with existing(path, REPRO).open(newline="", encoding="utf-8") as file:
        try:
            rows = [
                {name: value if name in texts else float(value) for name, value in row.items()}
                for row in csv.DictReader(file)
            ]
        except (TypeError, ValueError, csv.Error) as error:
            raise UserError(f"{path} is corrupt ({error}){REPRO}") from error
    if rows and (missing := [name for name in columns if name not in rows[0]]):
        raise UserError(f"{path} has no column {missing[0]}{REPRO}")
    return rows


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file. UserError if it is missing or broken."""
    from safetensors import SafetensorError  # imported here because `predict` does not require it
    from safetensors.numpy import load_file

    try:
        return load_file(existing(path, REPRO))
    except SafetensorError as error:
        raise UserError(f"{path} is corrupt ({error}){REPRO}") from error


def read_checksums(path: Path) -> dict[str, str]:
    """The SHA-256 of each file in a SHA256SUMS file, by name. UserError if it is not text."""
    try:
        lines = existing(path).read_text(encoding="utf-8-sig").splitlines()
    except ValueError as error:
        raise UserError(f"{path} is not UTF-8 text: create it with `sha256sum`") from error
    found = {}
    for line in lines:
        digest, _, name = line.strip().partition(" ")
        name = name.strip().removeprefix("*").removeprefix("./")  # `sha256sum -b` writes `*`
        found[name] = digest.lower()
    return found


def existing(path: Path, remedy: str = "") -> Path:
    """`path` itself. UserError, which ends with `remedy`, if it is not a file."""
    if path.is_file():
        return path
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a file")
    raise UserError(f"{path} is missing{remedy}")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. UserError if it is missing."""
    with existing(path, REPRO).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _destination(path: Path) -> Path:
    """The file to replace when `path` is written: a link's target, if that is writable."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:  # a new file, or a dangling link
        mode = stat.S_IFREG | stat.S_IWUSR
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is not a regular file: choose another path")
    writable = mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    return Path(os.path.realpath(path)) if path.is_symlink() and writable else path


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # this file system cannot sync a folder
            raise
    finally:
        os.close(descriptor)
