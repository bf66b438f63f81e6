"""fetch against a real HTTP server on 127.0.0.1 that answers correctly, wrongly, or not at all."""

import contextlib
import os
import pty
import re
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import load_params
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from tests.checkout import PROJECT
from tests.mirrors import CONTENT, FIRST, NAMES, SHA256, fetched, fill, run


class Server(ThreadingHTTPServer):
    """Serves CONTENT at /BEHAVIOUR/NAME and records the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str] = []
        self.encodings: set[str | None] = set()  # the clients' Accept-Encoding headers
        self.waiting = threading.Event()  # set while a client waits for a response
        self.closing = threading.Event()

    def url(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{behaviour}"


class Handler(BaseHTTPRequestHandler):
    """Dispatches each request to the method named BEHAVIOUR."""

    server: Server

    def do_GET(self) -> None:
        behaviour, name = self.path[1:].split("/")
        self.server.requests.append(self.path)
        self.server.encodings.add(self.headers["Accept-Encoding"])
        getattr(self, behaviour)(CONTENT[name])

    def answer(
        self, status: int, content: bytes, length: int | None = None, **headers: str
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def good(self, content: bytes) -> None:
        self.answer(200, content)

    def astray(self, content: bytes) -> None:
        self.answer(302, b"", Location="http://[nowhere/")

    def flipped(self, content: bytes) -> None:
        self.answer(200, content[:-1] + bytes([content[-1] ^ 1]))

    def truncated(self, content: bytes) -> None:
        self.answer(200, content[:3000], len(content))

    def page(self, content: bytes) -> None:
        self.answer(200, b"<!doctype html><title>Log in to this network</title>")

    def absent(self, content: bytes) -> None:
        self.answer(404, b"not here")

    def failing(self, content: bytes) -> None:
        self.answer(500, b"sorry")

    def recovering(self, content: bytes) -> None:
        early = self.server.requests.count(self.path) <= 2
        self.answer(500 if early else 200, content)

    def dropping(self, content: bytes) -> None:
        self.close_connection = True

    def silent(self, content: bytes) -> None:
        self.server.waiting.set()
        self.server.closing.wait()

    def stalling(self, content: bytes) -> None:
        self.answer(200, content[:3000], len(content))
        self.silent(content)

    def declared_gzip(self, content: bytes) -> None:
        self.answer(200, content, Content_Encoding="gzip")

    def declared_x_gzip(self, content: bytes) -> None:
        self.answer(200, content, Content_Encoding="x-gzip")

    def chunked(self, content: bytes) -> None:
        self.protocol_version = "HTTP/1.1"
        self.close_connection = True
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (content[:3000], content[3000:], b""):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))

    def first(self, status: int, content: bytes, retry_after: str) -> None:
        """Respond with this status and Retry-After header first, and with the file after that."""
        if self.server.requests.count(self.path) == 1:
            self.answer(status, b"later", Retry_After=retry_after)
        else:
            self.answer(200, content)

    def busy(self, content: bytes) -> None:
        self.first(429, content, "0")

    def slow_client(self, content: bytes) -> None:
        self.first(408, content, "Wed, 21 Oct 2015 07:28:00 GMT")

    def unclear(self, content: bytes) -> None:
        self.first(503, content, "soon")

    def tomorrow(self, content: bytes) -> None:
        self.answer(429, b"later", Retry_After="3600")

    def dribbling(self, content: bytes) -> None:
        """Send the file byte by byte, with short pauses."""
        self.answer(200, b"", len(content))
        self.drop_by_drop(content)

    def dribbling_headers(self, content: bytes) -> None:
        self.send_response(200)
        self.flush_headers()
        self.drop_by_drop(b"X-Header: " + content)

    def drop_by_drop(self, content: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            for byte in content:
                self.wfile.write(bytes([byte]))
                if self.server.closing.wait(0.02):
                    break

    def log_message(self, *arguments: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def refused() -> Iterator[str]:
    """The URL of a port that is bound but refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with the files in mirror/."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    fill(tmp_path / "mirror")
    return Workspace(tmp_path)


@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize("scheme", ["http://", "HTTP://"])
def test_all_files_come_from_an_http_mirror(
    workspace: Workspace, server: Server, capfd: pytest.CaptureFixture[str], scheme: str, end: str
) -> None:
    mirror = server.url("good").replace("http://", scheme) + end
    run(workspace, mirror)
    assert fetched(workspace) == CONTENT
    assert server.requests == [f"/good/{name}" for name in NAMES]
    output = capfd.readouterr()
    assert output.err == ""
    assert output.out.splitlines() == [f"{name}: from {mirror}" for name in NAMES]


@pytest.mark.parametrize("behaviour", ["declared_gzip", "declared_x_gzip", "chunked"])
def test_a_file_is_stored_without_decoding(
    workspace: Workspace, server: Server, behaviour: str
) -> None:
    """Even if the server declares the .gz file to be gzip-encoded content."""
    run(workspace, server.url(behaviour))
    assert fetched(workspace) == CONTENT
    assert server.encodings == {"identity"}


@pytest.mark.parametrize("behaviour", ["busy", "slow_client", "unclear"])
def test_a_mirror_that_asks_to_wait_is_retried(
    workspace: Workspace, server: Server, behaviour: str
) -> None:
    run(workspace, server.url(behaviour), files={FIRST: SHA256[FIRST]})
    assert fetched(workspace) == {FIRST: CONTENT[FIRST]}


def test_retry_after_is_honoured_within_the_time_limit(
    workspace: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setattr(Handler, "busy", lambda self, content: self.first(429, content, "7"))
    run(workspace, server.url("busy"), files={FIRST: SHA256[FIRST]})
    assert waited == [7]
    with pytest.raises(UserError, match=r"HTTP status 429, .*3600 s"):
        run(workspace, server.url("tomorrow"), files={FIRST: SHA256[FIRST]})
    with pytest.raises(UserError, match=r"\b5 s$"):
        run(
            workspace,
            server.url("failing"),
            backoff=6.0,
            time_limit=5.0,
            files={FIRST: SHA256[FIRST]},
        )
    assert waited == [7]


@pytest.mark.timeout(30)  # the whole file takes longer at this pace
@pytest.mark.parametrize("behaviour", ["dribbling", "dribbling_headers"])
def test_a_mirror_that_is_too_slow_is_skipped(
    workspace: Workspace, server: Server, behaviour: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The bytes arrive one by one, so no single read times out."""
    run(workspace, server.url(behaviour), "mirror", time_limit=0.5, files={FIRST: SHA256[FIRST]})
    assert fetched(workspace) == {FIRST: CONTENT[FIRST]}
    assert re.search(rf"{behaviour}: .*\b0\.5 s", capfd.readouterr().err)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("flipped", "SHA-256"),
        ("page", "SHA-256"),
        ("truncated", "2 attempts"),
        ("dropping", "2 attempts"),
        ("failing", "2 attempts"),
        ("absent", "HTTP status 404"),
        ("astray", "Invalid IPv6 URL"),
        ("refused", "Connection"),
        ("silent", "Timeout"),
        ("stalling", "2 attempts"),
    ],
)
@pytest.mark.timeout(20)  # shorter than the default timeout of 30 s
def test_a_bad_mirror_is_reported_and_the_next_one_is_used(
    workspace: Workspace,
    behaviour: str,
    reason: str,
    server: Server,
    refused: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    bad = refused if behaviour == "refused" else server.url(behaviour)
    waits = behaviour in ("silent", "stalling")
    good = "mirror" if waits else server.url("good")  # a folder never times out
    run(workspace, bad, good, timeout=0.2 if waits else 10.0, files={FIRST: SHA256[FIRST]})
    assert fetched(workspace) == {FIRST: CONTENT[FIRST]}
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith(FIRST)]
    assert len(said) == 1
    assert f" {bad}: " in said[0]
    assert reason in said[0]


def test_a_failing_mirror_is_retried_with_exponential_backoff(
    workspace: Workspace, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    run(workspace, server.url("recovering"), retries=2, backoff=0.01, files={FIRST: SHA256[FIRST]})
    assert fetched(workspace) == {FIRST: CONTENT[FIRST]}
    assert len(server.requests) == 3
    said = capfd.readouterr().err
    assert re.findall(r"HTTP status 500, .*? (\S+) s\b", said) == ["0.01", "0.02"]


@pytest.mark.parametrize("behaviour", ["absent", "flipped", "page"])
def test_permanent_failures_are_not_retried(
    workspace: Workspace, behaviour: str, server: Server
) -> None:
    with pytest.raises(UserError):
        run(workspace, server.url(behaviour), retries=5)
    assert len(server.requests) == 1


def test_if_all_mirrors_fail_one_error_lists_the_reasons_and_no_file_is_kept(
    workspace: Workspace, server: Server, refused: str
) -> None:
    (workspace.root / "empty").mkdir()
    web = {
        server.url(behaviour): reason
        for behaviour, reason in {
            "absent": "404",
            "failing": "500",
            "flipped": "SHA-256",
            "truncated": "attempts",
            "page": "SHA-256",
        }.items()
    }
    reasons = {"nowhere": "no such folder", "empty": "No such file", refused: "Connection", **web}
    with pytest.raises(UserError) as raised:
        run(workspace, *reasons)
    instruction, *tried = str(raised.value).splitlines()
    assert FIRST in instruction
    assert "folder" in instruction
    assert "fetch.mirrors" in instruction
    assert len(tried) == len(reasons)
    for line, (mirror, reason) in zip(tried, reasons.items(), strict=True):
        assert line.strip().startswith(f"{mirror}: ")
        assert reason in line.removeprefix(mirror)
    assert fetched(workspace) == {}


@pytest.mark.parametrize("source", ["mirror", "good"])
def test_a_wrong_file_from_an_earlier_run_is_replaced(
    workspace: Workspace, source: str, server: Server
) -> None:
    workspace.raw.mkdir(parents=True)
    (workspace.raw / FIRST).write_bytes(b"from an earlier, other release")
    run(workspace, source if source == "mirror" else server.url(source))
    assert fetched(workspace) == CONTENT


@pytest.mark.parametrize("source", ["mirror", "good"])
def test_file_permissions_follow_the_umask(
    workspace: Workspace, source: str, server: Server
) -> None:
    umask = os.umask(0o027)
    try:
        run(workspace, source if source == "mirror" else server.url(source))
    finally:
        os.umask(umask)
    assert {path.stat().st_mode & 0o777 for path in workspace.raw.iterdir()} == {0o640}


def test_a_terminal_shows_a_progress_bar(
    workspace: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    with os.fdopen(screen, "rb", buffering=0) as shown, os.fdopen(terminal, "w") as stderr:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stderr)
            run(workspace, server.url("good"), files={FIRST: SHA256[FIRST]})
        os.set_blocking(screen, False)
        assert "100%|█████" in b"".join(iter(lambda: shown.read(4096), None)).decode()


def test_an_interrupted_download_leaves_no_file(workspace: Workspace, server: Server) -> None:
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["fetch"] |= {"mirrors": [server.url("stalling")], "timeout": 60.0, "files": SHA256}
    workspace.params.write_text(yaml.safe_dump(params))
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", "fetch"],
        cwd=workspace.root,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert server.waiting.wait(60)
            process.terminate()
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 128 + 15
    assert said == "stopped by SIGTERM\n"
    assert fetched(workspace) == {}


def test_the_files_and_the_mirror_match_torchvision() -> None:
    from torchvision.datasets import MNIST

    params = load_params(PROJECT / "params.yaml").fetch
    assert params.mirrors[1] in MNIST.mirrors
    assert list(params.files) == [name for name, _ in MNIST.resources]
