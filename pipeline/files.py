"""Files that are whole or not there: everything is written beside its place and renamed."""

import csv
import ctypes
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from pipeline.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; it takes the place of `path` when the block ends well."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix
        )
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.errno is not None:  # a full disk names no file, others the temporary one
            error.filename = str(path)
        raise


def replace_directory(new: Path, target: Path) -> None:
    """Let the directory `new` take the place of `target`, which is then at `new`.

    Both must be on one file system. On Linux this is one indivisible step (RENAME_EXCHANGE);
    elsewhere two, and a crash just between them leaves the old content beside its place.
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


def read_json(path: Path) -> Any:
    """The content of a JSON file; UserError if it is missing or broken."""
    try:
        return json.loads(existing(path).read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); `dvc repro` makes it anew") from error


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows, all with the keys of the first, under a line of column names."""
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0].keys() if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, table.getvalue())


def read_csv(path: Path) -> list[dict[str, float]]:
    """The rows of a CSV file of numbers; UserError if it is missing or holds anything else."""
    with existing(path).open(newline="") as file:
        try:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        except (TypeError, ValueError) as error:
            raise UserError(f"{path} is corrupt ({error}); `dvc repro` makes it anew") from error


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file; UserError if it is missing or broken."""
    try:
        return load_file(existing(path))
    except SafetensorError as error:
        raise UserError(f"{path} is corrupt ({error}); `dvc repro` makes it anew") from error


def existing(path: Path) -> Path:
    """`path` itself; UserError if there is no such file."""
    if path.is_file():
        return path
    if Path("dvc.yaml").exists() or Path("params.yaml").exists():
        raise UserError(f"{path} is missing; `dvc repro` makes it")
    here = f" in {Path.cwd()}" if not path.is_absolute() else ""
    raise UserError(f"{path} is missing{here}; run from the folder that holds params.yaml")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal; UserError if it is missing."""
    with existing(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
