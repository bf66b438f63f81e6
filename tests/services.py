"""The HTTP service in tests: in this process, in a thread, or in a separate process."""

import asyncio
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import ASGIApp

from pipeline.core.variables import SERVE_TOKEN_FILE
from pipeline.core.workspace import Workspace
from pipeline.inference.classifier import Classifier
from pipeline.service.app import create_app
from pipeline.service.limits import Limits
from pipeline.service.pool import ModelPool, ServedModel
from pipeline.service.server import make_server
from pipeline.service.sockets import listen
from pipeline.service.token import Tokens
from tests.checkout import MODEL, PROJECT
from tests.digits import Images
from tests.servers import wait_until

INFER = "/v2/models/mnist-cnn/infer"
SERVE = [sys.executable, "-m", "pipeline", "serve"]


def make_app(
    limits: Limits | None = None,
    classifier: Classifier | None = None,
    token: str | None = None,
    admin_token: str | None = None,
    review_token: str | None = None,
    **options: Any,
) -> FastAPI:
    """The service with a model, by default the released one, and these tokens."""
    pool = ModelPool(ServedModel(classifier or Classifier(MODEL, threads=1)))
    return create_app(pool, limits, Tokens(token, admin_token, review_token), **options)


class Client:
    """A client that calls the service without a network."""

    def __init__(self, runner: asyncio.Runner, app: ASGIApp) -> None:
        self._runner, self._client = runner, async_client(app)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request; returns the response."""
        return self._runner.run(self._client.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Get a path."""
        return self.request("GET", path, **options)

    def post(self, path: str, content: Any = None, **options: Any) -> httpx.Response:
        """Post a body to a path."""
        return self.request("POST", path, content=content, **options)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        return metric(self.get("/metrics").text, name, **labels)


@contextmanager
def client_of(app: ASGIApp) -> Iterator[Client]:
    """A client of the service in this process."""
    with asyncio.Runner() as runner:
        yield Client(runner, app)


def async_client(app: ASGIApp) -> httpx.AsyncClient:
    """An asynchronous client, for concurrent requests."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service", timeout=60)


def png(image: Images) -> bytes:
    """A picture as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def images_input(images: Images, **changes: Any) -> dict[str, Any]:
    """The images as an input of the Open Inference Protocol."""
    tensor = {"name": "images", "shape": list(images.shape), "datatype": "UINT8"}
    return tensor | {"data": images.ravel().tolist()} | changes


def binary_request(images: Images) -> tuple[bytes, dict[str, str]]:
    """A request with the images as bytes after the JSON: body and headers."""
    changes = {"data": None, "parameters": {"binary_data_size": images.size}}
    content = json.dumps({"inputs": [images_input(images[:0]) | changes]})
    content = content.replace('"shape": [0', f'"shape": [{len(images)}')
    headers = {"Inference-Header-Content-Length": str(len(content))}
    return content.encode() + images.tobytes(), headers


def metric(text: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    families = text_string_to_metric_families(text)
    samples = (sample for family in families for sample in family.samples)
    return sum(
        sample.value
        for sample in samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@contextmanager
def listening(app: ASGIApp, limits: Limits | None = None) -> Iterator[int]:
    """The service in a thread of this process, on a free port."""
    server = make_server(app, limits or Limits())
    listeners = listen("127.0.0.1", 0)
    listeners[0].setsockopt(
        socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16
    )  # limits buffering in the kernel
    thread = threading.Thread(target=server.run, args=[listeners])
    thread.start()
    try:
        yield listeners[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def serving(
    log: Path,
    *options: str,
    prefix: Sequence[str] = (),
    token_file: Path | None = None,
    workspace: Workspace | None = None,
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Serve the released model; yields the process and its URL. The log goes to a file.

    `prefix` is the start of a command that runs the service. `workspace`: of the released model, by
    default this project.
    """
    folder = PROJECT if workspace is None else workspace.root
    variables = {} if token_file is None else {SERVE_TOKEN_FILE.name: str(token_file)}
    with log.open("w") as file:
        process = subprocess.Popen(
            [*prefix, *SERVE, "--port=0", *options],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(PROJECT)} | variables,
            stderr=file,
        )

    def address() -> re.Match[str] | None:
        assert process.poll() is None, log.read_text()
        return re.search(r"listening on (http://[\d.:]+)", log.read_text())

    try:
        wait_until(address)
        found = address()
        assert found is not None
        yield process, found[1]
    finally:
        process.kill()
        process.wait()
