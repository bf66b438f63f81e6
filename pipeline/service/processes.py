"""The processes of a service: a supervisor starts them, replaces those that die, and stops them.

All accept connections from the same sockets: the next connection goes to a process that is idle,
and none is lost if a process dies before accepting it. Processes are spawned, not forked, because
NumPy and ONNX Runtime have threads, which a fork loses.
"""

import ctypes
import logging
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UserError
from pipeline.service.shared import ROW

LOG = logging.getLogger(__name__)
SPAWN = get_context("spawn")
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of CPU time per period
POLL = 0.1  # seconds between looks at the processes
LATE = 5  # seconds beyond their grace period in which processes must end
TRIES = 5  # replacements of a process, if none serves and all end before they do
PAUSE, LONGEST_PAUSE = 0.5, 60  # seconds before the second replacement, and before any later one

Start = Callable[[int], SpawnProcess]  # starts the process of a row


def default_count(cores: int, quota: Path = QUOTA) -> int:
    """One process per core, or as many as a container's CPU quota allows."""
    try:
        limit, period = quota.read_text(encoding="ascii").split()
        cores = min(cores, -(-int(limit) // int(period)))
    except (OSError, ValueError):  # no quota
        pass
    return max(1, cores)


def allocate(count: int, row: np.dtype[Any] = ROW) -> Any:
    """Memory for the rows of this many processes."""
    return SPAWN.RawArray(ctypes.c_byte, count * row.itemsize)


def rows_in(memory: Any) -> NDArray[Any]:
    """The rows in memory from `allocate`."""
    return np.frombuffer(memory, ROW)


def share(value: Any) -> Any:
    """Memory with a copy of a value of any size, for `take` in another process."""
    content = pickle.dumps(value)
    memory = SPAWN.RawArray(ctypes.c_byte, len(content))
    ctypes.memmove(memory, content, len(content))
    return memory


def take(memory: Any) -> Any:
    """The value in memory from `share`."""
    return pickle.loads(bytes(memory))  # noqa: S301 (from the parent process)


def start(target: Callable[..., None], *arguments: Any) -> SpawnProcess:
    """Start a process, which ignores Ctrl-C: that is for the supervisor.

    The arguments must be small, as those of `share` are: they pass through a pipe of 64 KiB. If it
    were full and the process were killed before it reads, this one would wait forever.
    """
    process = SPAWN.Process(target=target, args=arguments)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # the process inherits it
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return process


def supervise(
    start: Start, rows: NDArray[Any], grace: float, on_ready: Callable[[], None],
    on_stop: Callable[[], None],
) -> None:  # fmt: skip
    """Run a process for each row until SIGINT or SIGTERM, which then takes effect.

    Calls `on_ready` once all serve, and `on_stop` before it stops them. Until then, UserError if a
    process ends before it serves; afterwards, only if none serves and TRIES replacements of one in
    a row end before they do. A second signal kills processes that have not ended.
    """
    with _signals() as received:
        places = [_Supervised(start, rows["serving"], number) for number in range(len(rows))]
        try:
            ready = False
            while not received:
                wait([place.process.sentinel for place in places if place.process.is_alive()], POLL)
                if not ready and rows["serving"].all():
                    ready = True
                    on_ready()
                for place in places:
                    if not (received or place.process.is_alive()):
                        place.replace(ready)
        finally:
            on_stop()
            _stop([place.process for place in places], received, grace + LATE)


def pause(failures: int) -> float:
    """Seconds until the next replacement, after so many in a row that have not served."""
    return min(PAUSE * 2.0 ** min(failures - 1, 30), LONGEST_PAUSE) if failures else 0.0


def end_with_parent() -> None:
    """Make this process end on SIGTERM, and when its parent has ended."""

    def end(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(0)

    def watch() -> None:
        parent = parent_process()
        assert parent is not None
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=watch, name="parent", daemon=True).start()


class _Supervised:
    """The process of a row, and those that replace it."""

    def __init__(self, start: Start, serving: NDArray[np.int64], number: int) -> None:
        self._start, self._serving, self._number = start, serving, number
        self._failures = 0  # processes in a row that ended before they served
        self._due: float | None = None  # when the next process starts, if the last one has ended
        self.process = start(number)

    def replace(self, ready: bool) -> None:
        """Start another process in place of one that has ended, after a pause."""
        if self._due is None:
            self._due = time.monotonic() + self._pause(ready)
        if time.monotonic() >= self._due:
            self._due = None
            self.process = self._start(self._number)

    def _pause(self, ready: bool) -> float:
        served, self._serving[self._number] = self._serving[self._number], False
        self._failures = 0 if served else self._failures + 1
        status = self.process.exitcode
        last = self._failures >= TRIES and not self._serving.any()
        if self._failures and (last or not ready):
            raise UserError(
                f"a process of the service ended with status {status} before it could serve; "
                "--workers 1 needs the least memory"
            )
        seconds = pause(self._failures)
        if served:
            LOG.error("a process ended with status %s; another one replaces it", status)
        else:
            LOG.error(
                "a process ended with status %s before it could serve; in %g s, another one "
                "replaces it",
                *(status, seconds),
            )
        return seconds


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals that arrive during the block; the first takes effect after it."""
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {
        number: signal.signal(number, lambda number, frame: received.append(number))
        for number in numbers
    }
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if received:
        signal.raise_signal(received[0])


def _stop(processes: Sequence[SpawnProcess], received: Sequence[int], seconds: float) -> None:
    end = time.monotonic() + seconds
    for process in processes:
        process.terminate()
    while any(process.is_alive() for process in processes):
        if time.monotonic() > end or len(received) > 1:
            break
        wait([process.sentinel for process in processes if process.is_alive()], POLL)
    for process in processes:
        process.kill()
        process.join()
