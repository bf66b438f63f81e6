"""Unit tests start no process and no server: a test that does belongs in tests/integration."""

import os
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

INSPECTIONS = [  # that libraries and stages run to inspect the machine and the checkout
    ["fc-list"],
    ["/sbin/ldconfig"],
    ["nvidia-smi"],
    ["uname"],
    *(["git", reads] for reads in ("rev-parse", "ls-files", "status")),
]


@pytest.fixture(scope="package", autouse=True)
def no_process_and_no_server() -> Iterator[None]:
    """Fail a test that starts one, even if it catches exceptions."""

    def refuse(*_: object, **__: object) -> Any:
        pytest.fail("a unit test starts no process and no server: move it to tests/integration")

    popen = subprocess.Popen.__init__

    def start(process: Any, command: Any, *arguments: Any, **options: Any) -> None:
        if not any(list(command[: len(asked)]) == asked for asked in INSPECTIONS):
            refuse()
        popen(process, command, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", start)
        patch.setattr(socket.socket, "listen", refuse)
        for name in ("fork", "forkpty", "posix_spawn", "posix_spawnp", "system"):
            patch.setattr(os, name, refuse)
        yield


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """Restore the environment after commands that run in this process."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def fresh() -> None:
    """Refuse to build a workspace under git and DVC, which requires processes."""
    pytest.fail("a unit test uses no workspace under DVC: move it to tests/integration")
