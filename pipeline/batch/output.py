"""Where answers are written: never over an input, nor over what is no file."""

import os
from contextlib import suppress
from pathlib import Path

from pipeline.batch.input_files import LOCK, InputFiles
from pipeline.core.errors import UserError


def as_text(name: str) -> str:
    """What can be written as UTF-8 of a name that was none."""
    return name.encode(errors="backslashreplace").decode()


def validate_output(name: str, found: InputFiles) -> Path:
    """The file that `--output` names, links resolved. UserError if it must not be written.

    That is so if it is one of the inputs or would be read as one of them the next time, if it is
    protected, and if it is no file.
    """
    if not name:
        raise UserError("--output has an empty name: is a variable not set?")
    given = Path(name)
    try:
        exists, path = given.exists(), given.resolve()
    except (OSError, RuntimeError) as error:  # a link to itself, a name that is too long
        raise UserError(f"{name} cannot be written: {error}") from error
    if given.is_dir():
        raise UserError(f"{name} is a folder, not a file to be written")
    if exists:
        if not given.is_file():
            raise UserError(f"{name} is a pipe or a device, not a file that could be replaced")
        if not os.access(path, os.W_OK) or not path.stat().st_mode & 0o222:
            raise UserError(f"{name} is read-only")
        for file in found.files:
            with suppress(OSError):
                if os.path.samefile(file, path):  # noqa: PTH121 (a million of them)
                    raise UserError(f"{name} is an input, {file}: write to another file")
    if found.reads(path.name) and any(str(folder) in found.folders for folder in path.parents):
        raise UserError(
            f"{name} lies in a folder of inputs and would be read as one the next time: write it "
            "elsewhere"
        )
    for folder in path.parents:
        if folder.name.endswith(".partial") and (folder / LOCK).exists():
            raise UserError(f"{name} lies in {folder}, which `score` removes: write it elsewhere")
    return path
