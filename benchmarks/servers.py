"""Servers to measure, each in a separate process that ends with the `with` block."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import requests
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from pipeline.core.errors import UserError

LONGEST_START = 180  # seconds
ALIVE = "/v2/health/live"  # the path of our service that answers once it runs


@contextmanager
def prefect_server(home: Path) -> Iterator[dict[str, str]]:
    """A Prefect server with a separate database; yields its clients' environment variables."""
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    variables = {"PREFECT_HOME": str(home), "PREFECT_SERVER_API_PORT": str(port)}
    variables["PREFECT_PROFILES_PATH"] = os.devnull  # without the password of this checkout
    command = [sys.executable, "-m", "prefect", "server", "start"]
    with server(command, f"{api}/health", variables):
        yield variables | {"PREFECT_API_URL": api}


@contextmanager
def server(
    command: Sequence[str], health: str, variables: Mapping[str, str] | None = None
) -> Iterator[psutil.Process]:
    """Start a server and wait until the URL `health` answers. UserError if it never does."""
    process = psutil.Popen(
        command,
        env=os.environ | dict(variables or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        begun = time.monotonic()
        while not _answers(health):
            if process.poll() is not None or time.monotonic() - begun > LONGEST_START:
                raise UserError(f"`{' '.join(command[1:4])}` did not start")
            time.sleep(0.2)
        yield process
    finally:
        children = process.children(recursive=True) if process.is_running() else []
        process.terminate()
        process.wait()
        for child in children:  # some servers leave their workers running
            with suppress(psutil.NoSuchProcess):
                child.kill()


@contextmanager
def our_service(model: Path, *options: str) -> Iterator[tuple[str, psutil.Process]]:
    """Our service with a model and options of `serve`; yields its address and its main process."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "pipeline", "serve", "--model", str(model)]
    with server([*command, "--port", str(port), *options], f"{address}{ALIVE}") as process:
        yield address, process


def metrics(address: str) -> list[Sample]:
    """The samples of all metrics of our service at this address."""
    text = requests.get(f"{address}/metrics", timeout=30).text
    return [each for family in text_string_to_metric_families(text) for each in family.samples]


def free_port() -> int:
    """A free port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False
