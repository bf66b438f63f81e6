"""A command that ends when its starter does: python -m pipeline.core.supervisor COMMAND...

The starter holds the other end of standard input. However it lets go, killed outright too, the
input ends here, and with it every process of the command's group: by SIGTERM, or else by SIGKILL.
What even that cannot end (it waits for a disk, or belongs to another user) is named and left.
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

GRACE = 10.0  # seconds to end by themselves after SIGTERM, and as many to be gone after SIGKILL

_ending = threading.Lock()  # so that SIGTERM is sent once: a second would cut off cleaning up
_left: set[int] = set()  # processes of the group that cannot be ended


def run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    holding: int,
    on_line: Callable[[str], object],
) -> int:
    """The exit status of a command, run in this folder and in a process group of its own.

    Each line that it writes, errors too, goes to `on_line`. If that raises, or a signal's handler
    does, the group is stopped and the exception goes on. The file descriptor `holding`, a lock's,
    stays open until the group has ended, also if this process is killed before.
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
        with suppress(ProcessLookupError, PermissionError):  # it was killed before, or hangs
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def exit_with_parent() -> None:
    """Send this process SIGTERM when its parent dies, which then can no longer do it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Run the command in the arguments and exit with its status."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # it is for the others of the group
    command = subprocess.Popen(
        sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert command.stdout is not None
    relay = threading.Thread(target=_relay, args=[command.stdout.fileno()], daemon=True)
    relay.start()
    threading.Thread(target=_end_group_with_input, daemon=True).start()
    status = command.wait()
    _end_group()  # what the command has left behind
    relay.join(GRACE)  # not for ever: a process of another group may hold the other end
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
            _left.add(process.pid)
            with suppress(OSError):  # there may be nobody to tell
                print(f"error: process {process.pid} of this stage cannot be ended", flush=True)


def _wait_for_end(*, kill: bool = False) -> list[psutil.Process]:
    """The processes that are alive after GRACE; with `kill`, they get SIGKILL until then."""
    deadline = time.monotonic() + GRACE
    while (others := _other_processes()) and time.monotonic() < deadline:
        for process in others if kill else ():
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.05)
    return others


def _other_processes() -> list[psutil.Process]:
    """The living processes of this group but this one and those that are given up."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.pid not in {os.getpid(), *_left}
                and os.getpgid(process.pid) == os.getpgrp()
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
        except (psutil.Error, OSError):  # gone, or not for us to see
            continue
    return found


if __name__ == "__main__":
    main()
