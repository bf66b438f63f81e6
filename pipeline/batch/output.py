"""The output file: checks that it may be written, and summarises it in one line."""

import os
from contextlib import suppress
from pathlib import Path

from pipeline.batch.input_files import LOCK, InputFiles
from pipeline.core.errors import UserError


def as_text(name: str) -> str:
    """A name that can be written as UTF-8; characters that cannot be encoded are escaped."""
    return name.encode(errors="backslashreplace").decode()


def summary(output: str | Path, images: int, unreadable: int) -> str:
    """The content of an output file, in one line."""
    result = f"{unreadable:,} could not be read" if unreadable else "all read"
    return as_text(f"{output}: {images:,} image{'' if images == 1 else 's'}, {result}")


def validate_output(name: str, found: InputFiles) -> Path:
    """The file that `--output` names, links resolved. UserError if it must not be written.

    It must not be an input or a file that the next run would read as one. It must be writable, a
    regular file if it exists, and in an existing folder.
    """
    if not name:
        raise UserError("--output is empty: is a variable not set?")
    given = Path(name)
    try:
        exists, path = given.exists(), given.resolve()
    except (OSError, RuntimeError) as error:  # a link to itself, a name that is too long
        raise UserError(f"{name} cannot be written: {error}") from error
    if given.is_dir():
        raise UserError(f"{name} is a folder: name a file in it")
    if exists:
        if not given.is_file():
            raise UserError(f"{name} is a pipe or a device, which cannot be replaced: name a file")
        if not os.access(path, os.W_OK) or not path.stat().st_mode & 0o222:
            raise UserError(f"{name} is read-only")
        for file in found.files:
            with suppress(OSError):
                if os.path.samefile(file, path):  # noqa: PTH121 (a million of them)
                    raise UserError(f"{name} is an input, {file}: write to another file")
    if found.reads(path.name) and any(str(folder) in found.folders for folder in path.parents):
        raise UserError(
            f"{name} is in an input folder and would be read as an input next time: write it "
            "elsewhere"
        )
    for folder in path.parents:
        if folder.name.endswith(".partial") and (folder / LOCK).exists():
            raise UserError(f"{name} is in {folder}, which `score` removes: write it elsewhere")
    if not path.parent.is_dir():
        raise UserError(f"{name} cannot be written: create the folder {given.parent} first")
    return path
