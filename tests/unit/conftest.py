"""Unit tests start no process and no server: a test that does belongs in tests/integration."""

import os
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

QUESTIONS = [  # that libraries and stages ask of the machine and of the checkout
    ["fc-list"],
    ["/sbin/ldconfig"],
    ["nvidia-smi"],
    *(["git", reads] for reads in ("rev-parse", "ls-files", "status")),
]


@pytest.fixture(scope="package", autouse=True)
def no_process_and_no_server() -> Iterator[None]:
    """Fail a test that starts one, whatever it catches."""

    def refuse(*_: object, **__: object) -> Any:
        pytest.fail("a unit test starts no process and no server: move it to tests/integration")

    popen = subprocess.Popen.__init__

    def start(process: Any, command: Any, *arguments: Any, **options: Any) -> None:
        if not any(list(command[: len(asked)]) == asked for asked in QUESTIONS):
            refuse()
        popen(process, command, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", start)
        patch.setattr(socket.socket, "listen", refuse)
        for name in ("fork", "forkpty", "posix_spawn", "posix_spawnp", "system"):
            patch.setattr(os, name, refuse)
        yield


@pytest.fixture(scope="session")
def fresh() -> None:
    """No workspace under git and DVC, which takes processes."""
    pytest.fail("a unit test needs no workspace under DVC: move it to tests/integration")
