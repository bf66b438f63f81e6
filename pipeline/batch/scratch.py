"""The folder in which `score` keeps scored shards until all are there."""

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
    """Lock a folder for this process in the block.

    At its end the folder is removed, unless it has shards that are not yet joined. UserError if
    another process has locked it, or if it has what `score` did not make.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is in the way, which `score` needs as a folder: move it")
    folder.mkdir(exist_ok=True)
    foreign = next((path.name for path in folder.iterdir() if not OWN.fullmatch(path.name)), None)
    if foreign is not None:
        raise UserError(f"{folder} has {foreign}, which is not of `score`: move it elsewhere")
    try:
        with filelock.FileLock(folder / LOCK, timeout=0):
            try:
                yield
            finally:
                if not any(folder.glob("*/[0-9]*.parquet")):  # nor one begun: .000001...
                    _remove(folder)
    except filelock.Timeout as taken:
        raise UserError(f"another process holds {folder}: wait for its end, or stop it") from taken


def _remove(folder: Path) -> None:
    """Remove a locked folder of `score`, but for what `score` has not made.

    The lock goes last: whoever comes next makes the folder anew.
    """
    own = [path for path in folder.iterdir() if OWN.fullmatch(path.name)]
    for path in sorted(own, key=lambda path: path.name == LOCK):
        if path.is_dir() and not path.is_symlink():
            rmtree(path)
        else:
            path.unlink()
    with suppress(OSError):  # the next one is there already, or something that is not of `score`
        folder.rmdir()
