"""Where answers are written: never over an input, nor over what is no file."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree

import filelock

from pipeline.batch.finding import SCRATCH, Found
from pipeline.core.errors import UserError

JOINED = "joined.parquet"
OWN = re.compile(rf"{SCRATCH}|\.?{re.escape(JOINED)}.*|\.?[0-9a-f]{{64}}.*")  # names in a scratch


def as_text(name: str) -> str:
    """What can be written as UTF-8 of a name that was none."""
    return name.encode(errors="backslashreplace").decode()


def checked_output(name: str, found: Found) -> Path:
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
        if folder.name.endswith(".partial") and (folder / SCRATCH).exists():
            raise UserError(f"{name} lies in {folder}, which `score` removes: write it elsewhere")
    return path


@contextmanager
def scratch(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone in the block.

    At its end the folder goes, unless it has shards that are not yet put together. UserError if
    another process holds it, or if it has what `score` did not make.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is in the way, which `score` needs as a folder: move it")
    folder.mkdir(parents=True, exist_ok=True)
    foreign = next((path.name for path in folder.iterdir() if not OWN.fullmatch(path.name)), None)
    if foreign is not None:
        raise UserError(f"{folder} has {foreign}, which is not of `score`: move it elsewhere")
    try:
        with filelock.FileLock(folder / SCRATCH, timeout=0):
            try:
                yield
            finally:
                if not any(folder.glob("*/[0-9]*.parquet")):  # nor one begun: .000001...
                    _remove(folder)
    except filelock.Timeout as taken:
        raise UserError(f"another process holds {folder}: wait for its end, or stop it") from taken


def _remove(folder: Path) -> None:
    """Remove a folder of `score`, whose lock is held, but for what `score` has not made.

    The lock goes last: whoever comes next makes the folder anew.
    """
    own = [path for path in folder.iterdir() if OWN.fullmatch(path.name)]
    for path in sorted(own, key=lambda path: path.name == SCRATCH):
        if path.is_dir() and not path.is_symlink():
            rmtree(path)
        else:
            path.unlink()
    with suppress(OSError):  # the next one is there already, or something that is not of `score`
        folder.rmdir()
