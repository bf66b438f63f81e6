"""Runs a command that ends with its parent: python -m pipeline.core.supervisor COMMAND...

The parent holds the other end of standard input. When the parent ends, even by SIGKILL, the input
closes, and the supervisor stops every process in the command's group, first with SIGTERM, then with
SIGKILL. It reports any process that survives both, because it is waiting for a disk or belongs to
another user.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

GRACE = 10.0  # seconds to wait after SIGTERM, and again after SIGKILL

_ending = threading.Lock()  # ensures a single SIGTERM: a second would interrupt the cleanup
_unstoppable: set[int] = set()  # ids of processes that cannot be stopped


def run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    holding: int,
    on_line: Callable[[str], object],
) -> int:
    """Run a command in `folder`, in a separate process group. Returns its exit status.

    `on_line` receives each line of output, including standard error. If `on_line` or a signal
    handler raises, the group is stopped and the exception propagates. The lock's file descriptor
    `holding` stays open until the group has ended, even if this process is killed first.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.core.supervisor", *command],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=[holding],
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for line in process.stdout:
            on_line(line.rstrip())
        return process.wait()
    finally:
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(3 * GRACE)
        with suppress(ProcessLookupError, PermissionError):  # it has ended, or cannot be stopped
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def exit_with_parent() -> None:
    """Send this process SIGTERM when its parent dies."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Run the command in the arguments and exit with its status."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # it is meant for the rest of the group
    command = subprocess.Popen(
        sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert command.stdout is not None
    relay = threading.Thread(target=_relay, args=[command.stdout.fileno()], daemon=True)
    relay.start()
    threading.Thread(target=_end_group_with_input, daemon=True).start()
    status = command.wait()
    _end_group()  # processes that the command left running
    relay.join(GRACE)  # a process of another group may hold the other end open
    sys.exit(status if status >= 0 else 128 - status)


def _relay(source: int) -> None:
    while chunk := os.read(source, 65536):
        os.write(sys.stdout.fileno(), chunk)


def _end_group_with_input() -> None:
    os.read(sys.stdin.fileno(), 1)
    _end_group()


def _end_group() -> None:
    with _ending:
        if _other_processes():
            os.killpg(0, signal.SIGTERM)
        _wait_for_end()
        for process in _wait_for_end(kill=True):
            _unstoppable.add(process.pid)
            with suppress(OSError):  # the reader may be gone
                print(f"error: process {process.pid} of this stage cannot be stopped", flush=True)


def _wait_for_end(*, kill: bool = False) -> list[psutil.Process]:
    """The processes that are alive after GRACE; with `kill`, SIGKILL is sent to them meanwhile."""
    deadline = time.monotonic() + GRACE
    while (others := _other_processes()) and time.monotonic() < deadline:
        for process in others if kill else ():
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.05)
    return others


def _other_processes() -> list[psutil.Process]:
    """The living processes of this group except this one and those in `_unstoppable`."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.pid not in {os.getpid(), *_unstoppable}
                and os.getpgid(process.pid) == os.getpgrp()
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
        except (psutil.Error, OSError):  # it has ended, or is not accessible
            continue
    return found


if __name__ == "__main__":
    main()
