"""A Prefect server to measure with."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

LONGEST_START = 180  # seconds


@contextmanager
def prefect_server(home: Path) -> Iterator[dict[str, str]]:
    """A server with a store of its own; gives the variables that lead to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    variables = {"PREFECT_HOME": str(home), "PREFECT_SERVER_API_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start"],
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        begun = time.monotonic()
        while not _answers(api):
            if process.poll() is not None or time.monotonic() - begun > LONGEST_START:
                sys.exit("the Prefect server did not start")
            time.sleep(0.5)
        yield variables | {"PREFECT_API_URL": api}
    finally:
        process.terminate()
        process.wait()


def _answers(api: str) -> bool:
    try:
        return requests.get(f"{api}/health", timeout=5).ok
    except requests.RequestException:
        return False
