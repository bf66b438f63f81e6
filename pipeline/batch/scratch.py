"""The folder in which `score` keeps shards until all are scored."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree

import filelock

from pipeline.batch.input_files import LOCK
from pipeline.core.errors import UserError

JOINED = "joined.parquet"
OWN = re.compile(rf"{LOCK}|\.?{re.escape(JOINED)}.*|\.?[0-9a-f]{{64}}.*")  # names in such a folder


@contextmanager
def scratch_folder(folder: Path) -> Iterator[None]:
    """Lock a folder for this process while the block runs.

    At the end of the block, the folder is removed unless it holds shards that are not joined yet.
    UserError if another process has locked it, or if it holds files that `score` did not make.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is not a folder, but `score` requires one there: move it")
    folder.mkdir(exist_ok=True)
    foreign = next((path.name for path in folder.iterdir() if not OWN.fullmatch(path.name)), None)
    if foreign is not None:
        raise UserError(f"{folder} holds {foreign}, which `score` did not write: move it elsewhere")
    try:
        with filelock.FileLock(folder / LOCK, timeout=0):
            try:
                yield
            finally:
                if not any(folder.glob("*/[0-9]*.parquet")):  # an unfinished one is .000001...
                    _remove(folder)
    except filelock.Timeout as taken:
        raise UserError(
            f"another process is using {folder}: wait until it ends, or stop it"
        ) from taken


def _remove(folder: Path) -> None:
    """Remove what `score` made in a locked folder, and the folder if nothing else is in it.

    The lock is removed last, since the next process may then create the folder again.
    """
    own = [path for path in folder.iterdir() if OWN.fullmatch(path.name)]
    for path in sorted(own, key=lambda path: path.name == LOCK):
        if path.is_dir() and not path.is_symlink():
            rmtree(path)
        else:
            path.unlink()
    with suppress(OSError):  # in use by the next process, or with other files in it
        folder.rmdir()
