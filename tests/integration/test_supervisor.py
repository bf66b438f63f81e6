"""A stage ends when its flow run ends, for whatever reason, and leaves no process behind."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipeline.core import supervisor
from tests.checkout import UNTRACKED
from tests.servers import wait_until

pytestmark = pytest.mark.timeout(60)

# two background processes: one saves its work on SIGTERM, the other has a child
FAMILY = """
sh -c 'trap "echo saved > $0; exit" TERM; echo ready; while :; do sleep 0.1; done' "$1" &
sh -c 'echo ready; sleep 200; true' &
"""
STUBBORN = "sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.1; done' &"

# a process that ends and is never reaped, since its parent has left the group
UNREAPED = """
import os, time
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(200)
    os.setsid()
    print(os.getpid(), flush=True)
    os.close(1)
    os.close(2)
    time.sleep(200)
time.sleep(0.5)
"""

# acts like a flow run: takes a lock and runs a command; SIGTERM raises, SIGKILL cannot
STARTER = """
import fcntl, os, signal, sys
from pathlib import Path
from pipeline.core import supervisor

signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
with open(sys.argv[1], "a") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    supervisor.run(
        sys.argv[2:], Path(), os.environ, lock.fileno(), lambda line: print(line, flush=True)
    )
"""


# a supervisor that fails to kill a process: it belongs to another user or is stuck in the kernel
HELPLESS = """
import sys
import psutil
from pipeline.core import supervisor

def kill(process):
    {}

psutil.Process.kill = kill
supervisor.GRACE = 0.5
supervisor.main()
"""

# counts the SIGTERMs that it receives until long after its parent, which ends at the first
COUNTER = """
sh -c 'n=0; trap "n=\\$((n + 1))" TERM; echo ready
  for i in $(seq 200); do [ $n -gt 0 ] && break; sleep 0.1; done
  sleep 0.5; sleep 0.5; sleep 0.5; echo $n > "$0"' "$1" &
trap "sleep 0.5; exit" TERM
while :; do sleep 0.1; done
"""


def shell(
    script: str,
    *arguments: object,
    on_line: Callable[[str], object] = print,
    folder: Path = Path(),
    **variables: str,
) -> int:
    """Run a shell script with these arguments under the supervisor."""
    command = ["sh", "-c", script, "sh", *map(str, arguments)]
    with Path(os.devnull).open() as lock:
        return supervisor.run(command, folder, UNTRACKED | variables, lock.fileno(), on_line)


def members(group: int) -> list[int]:
    """The live processes of a group, except the supervisor, its leader."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                os.getpgid(process.pid) == group != process.pid
                and process.status() != psutil.STATUS_ZOMBIE  # it may never be reaped
            ):
                found.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


@pytest.mark.parametrize(
    ("script", "status"),
    [("true", 0), ("exit 3", 3), ("kill -KILL $$", 128 + 9), ("kill -TERM $$", 128 + 15)],
)
def test_the_exit_status_is_that_of_the_command(script: str, status: int) -> None:
    assert shell(script) == status


def test_output_and_errors_arrive_in_order_while_the_command_runs(tmp_path: Path) -> None:
    script = """
    echo one; echo two >&2; echo three
    for i in $(seq 100); do [ -e "$1" ] && exit; sleep 0.1; done
    exit 5
    """
    said: list[str] = []

    def on_line(line: str) -> None:
        said.append(line)
        if line == "three":
            (tmp_path / "seen").touch()

    assert shell(script, tmp_path / "seen", on_line=on_line) == 0
    assert said == ["one", "two", "three"]


def test_any_output_is_split_into_lines_of_text() -> None:
    said: list[str] = []
    script = r"printf 'na\303\257ve caf\351  \n\n 1 %%\r100 %%\nno line end'"
    assert shell(script, on_line=said.append) == 0
    assert said == ["naïve caf\ufffd", "", " 1 %", "100 %", "no line end"]


def test_the_command_gets_its_folder_and_environment_and_no_standard_input(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    script = 'read name || name=nobody; echo "$GREETING, $name"; pwd'
    assert shell(script, on_line=said.append, folder=tmp_path, GREETING="hello") == 0
    assert said == ["hello, nobody", str(tmp_path)]


@pytest.mark.parametrize("output", ["", ">/dev/null 2>&1"], ids=["shared", "own"])
def test_processes_left_by_the_command_are_killed(output: str) -> None:
    group = 0

    def on_line(line: str) -> None:
        nonlocal group
        group = os.getpgid(int(line))
        assert int(line) in members(group)

    script = f"sleep 200 {output} & echo $!; sleep 1; exit 3"
    assert shell(script, on_line=on_line) == 3
    assert members(group) == []


def test_unreaped_processes_are_not_waited_for() -> None:
    parent: list[str] = []
    start = time.monotonic()
    status = shell('exec "$1" -c "$2"', sys.executable, UNREAPED, on_line=parent.append)
    assert status == 0
    assert time.monotonic() - start < supervisor.GRACE
    os.kill(int(*parent), signal.SIGKILL)


@pytest.mark.parametrize(
    ("script", "exception"), [(FAMILY, KeyboardInterrupt), (FAMILY + STUBBORN, RuntimeError)]
)
def test_an_exception_in_the_line_callback_ends_the_whole_group(
    script: str, exception: type[BaseException], tmp_path: Path
) -> None:
    group, ready = 0, 0

    def on_line(line: str) -> None:
        nonlocal group, ready
        if line == "ready":
            ready += 1
        else:
            group = os.getpgid(int(line))
        if ready == script.count("ready") and group:
            assert len(members(group)) > ready  # the processes that are ready, and their parent
            raise exception

    start = time.monotonic()
    with pytest.raises(exception):
        shell(f"{script}\necho $$; wait", tmp_path / "work", on_line=on_line)
    assert members(group) == []
    assert (tmp_path / "work").read_text() == "saved\n"
    polite = STUBBORN not in script
    assert (time.monotonic() - start < supervisor.GRACE) == polite


def test_a_process_receives_sigterm_only_once(tmp_path: Path) -> None:
    def on_line(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shell(COUNTER, tmp_path / "count", on_line=on_line)
    assert (tmp_path / "count").read_text() == "1\n"


def test_killing_the_supervisor_kills_its_group() -> None:
    group = 0

    def on_line(line: str) -> None:
        nonlocal group
        group = os.getpgid(int(line))
        os.kill(group, signal.SIGKILL)  # the leader, as when the system runs out of memory

    assert shell("echo $$; sleep 200; true", on_line=on_line) == -signal.SIGKILL
    assert group
    wait_until(lambda: not members(group), seconds=supervisor.GRACE)


@pytest.mark.parametrize("kill", ["pass", "raise psutil.AccessDenied(process.pid)"])
def test_a_process_that_cannot_be_killed_is_named_and_not_waited_for(kill: str) -> None:
    stubborn = "sh -c 'trap \"\" TERM; echo $$; exec sleep 200' & sleep 0.5"
    with subprocess.Popen(
        [sys.executable, "-c", HELPLESS.format(kill), "sh", "-c", stubborn],
        env=UNTRACKED,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            left = process.stdout.readline().strip()
            said, _ = process.communicate(timeout=30)
            assert re.fullmatch(f"error: process {left} .*\n", said)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killing_the_flow_run_ends_the_group_before_the_lock_is_released(
    number: signal.Signals, tmp_path: Path
) -> None:
    slow = """
    sleep 200 &
    exec 2>/dev/null
    trap 'sleep 1; echo saved > "$0"; exit' TERM
    echo $$
    while :; do sleep 0.1; done
    """
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, tmp_path / "lock", "sh", "-c", slow, tmp_path / "work"],
        env=UNTRACKED,
        stdout=subprocess.PIPE,
        text=True,
    )
    with starter, (tmp_path / "lock").open("a") as lock:
        assert starter.stdout is not None
        group = os.getpgid(int(starter.stdout.readline()))
        assert len(members(group)) >= 2
        starter.send_signal(number)
        deadline = time.monotonic() + supervisor.GRACE / 2
        while not _locked(lock.fileno()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert members(group) == []
    assert (tmp_path / "work").read_text() == "saved\n"


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
