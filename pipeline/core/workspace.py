"""The folder that holds dvc.yaml: stages run in it for one starter at a time.

A flow run holds it from before its first stage to after its last; a stage that is started by hand,
or by `dvc repro`, as long as that runs. However the holder ends, the system frees it.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from pipeline.core import paths
from pipeline.core.errors import UserError


@contextmanager
def held(who: str, waiting: Callable[[str], object] | None = None) -> Iterator[int]:
    """Hold the workspace in the block; if it is held, tell `waiting` by whom, and wait.

    Gives the lock's file descriptor: a child that inherits it goes on holding the workspace.
    UserError, which names the holder, if there is no `waiting`.
    """
    with _locked(waiting) as lock:
        lock.truncate(0)
        lock.write(f"{who} (process {os.getpid()})")
        lock.flush()
        yield lock.fileno()


def _locked(waiting: Callable[[str], object] | None) -> TextIO:
    """The lock's file, locked. One that was removed meanwhile protects nothing: another is made."""
    while True:
        paths.WORKSPACE_LOCK.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = paths.WORKSPACE_LOCK.open("a+", encoding="utf-8")
        except FileNotFoundError:  # its folder went just now
            continue
        try:
            _lock(lock, waiting)
        except BaseException:
            lock.close()
            raise
        if _in_place(lock):
            return lock
        lock.close()


def _lock(lock: TextIO, waiting: Callable[[str], object] | None) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as taken:
        lock.seek(0)
        busy = f"the workspace is busy with {lock.read() or 'another run'}"
        if waiting is None:
            raise UserError(f"{busy}: wait for its end, or stop it") from taken
        waiting(f"{busy}: waiting for its end")
        fcntl.flock(lock, fcntl.LOCK_EX)


def _in_place(lock: TextIO) -> bool:
    try:
        return os.path.samestat(os.fstat(lock.fileno()), paths.WORKSPACE_LOCK.stat())
    except FileNotFoundError:
        return False
