"""Connections of the HTTP service: bounds on what a client sends before the service sees it."""

import asyncio
import json
from typing import Any, NamedTuple

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from pipeline.service.connections import Connection
from pipeline.service.limits import Limits

LIMITS = Limits(head_bytes=1000, headers=10)
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


class Wire(asyncio.Transport):
    """The client's end of a connection: what it has received."""

    def __init__(self) -> None:
        super().__init__()
        self.received, self.closed = b"", False

    def write(self, data: Any) -> None:
        self.received += bytes(data)

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


class Answer(NamedTuple):
    """What a client has received, and whether its connection was closed."""

    received: bytes
    closed: bool

    @property
    def status(self) -> int:
        """The status of the first response."""
        return int(self.received.split()[1])


async def receive_all(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that returns the number of bytes in a body."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = str(size).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def answer(*pieces: bytes) -> Answer:
    """Send pieces until the connection closes."""

    async def talk() -> Answer:
        config = uvicorn.Config(receive_all, log_config=None, access_log=False, ws="none")
        wire, options = Wire(), {"config": config, "server_state": ServerState(), "app_state": {}}
        connection = Connection(limits=LIMITS, waiting={}, **options)
        connection.connection_made(wire)
        for piece in pieces:
            connection.data_received(piece)
            if wire.closed:
                break
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(0.01)
        return Answer(wire.received, wire.closed)

    return asyncio.run(talk())


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + b"X: " + b"a" * 2000 + b"\r\n\r\n"],
        [HEAD, *[b"X: " + b"a" * 400 + b"\r\n"] * 4],
        [HEAD, *[b"X:y\r\n"] * 11],
        [b"GET /" + b"a" * 2000, b" HTTP/1.1\r\n"],
        [HEAD, *[b"a" * 60] * 20],
        [CHUNKED, *[b"1;" + b"a" * 600, b"a" * 600]],
        [CHUNKED, b"1\r\na\r\n0\r\n", *[b"X: " + b"a" * 400 + b"\r\n"] * 4],
        [CHUNKED, b"1\r\na\r\n0\r\n", *[b"a" * 600] * 2],
    ],
    ids=["a line", "the head", "many headers", "the URL", "an endless line", "a chunk's extension",
         "trailers", "an endless trailer"],
)  # fmt: skip
def test_a_head_beyond_the_limits_is_refused(pieces: list[bytes]) -> None:
    found = answer(*pieces)
    assert found.closed
    assert found.status == 431
    head, _, body = found.received.partition(b"\r\n\r\n")
    assert "1,000 bytes" in json.loads(body)["error"]
    assert f"content-length: {len(body)}" in head.decode().lower()


def test_a_head_within_the_limits_is_accepted_in_any_pieces() -> None:
    request = HEAD + b"X: y\r\n" * 8 + b"Content-Length: 300000\r\n\r\n"
    for step in (1, 7, len(request)):
        pieces = [request[start : start + step] for start in range(0, len(request), step)]
        found = answer(*pieces, bytes(300_000), *pieces)
        assert (found.status, found.closed) == (200, False)
        assert found.received.endswith(b"300000")


def test_anything_that_is_not_http_is_refused_in_json() -> None:
    for garbage in (b"\0\1\2\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nno header\r\n\r\n"):
        found = answer(garbage)
        assert (found.status, found.closed) == (400, True)
        assert json.loads(found.received.partition(b"\r\n\r\n")[2])["error"]


def test_pipelined_requests_are_answered_but_not_queued_without_bound() -> None:
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    assert answer(request * 20).received.count(b"HTTP/1.1 200") == 20
    assert answer(request * 1000).closed


def test_a_request_that_would_upgrade_is_answered_without() -> None:
    """Java's client, for one, would prefer HTTP/2."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
    request = HEAD + upgrade + b"Content-Length: 5\r\n\r\nabcde"
    chunked = HEAD + upgrade + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"
    for pieces in ([request * 2], [request[:-3], request[-3:], request], [chunked, chunked]):
        found = answer(*pieces)
        assert not found.closed
        assert found.received.count(b"HTTP/1.1 200") == found.received.count(b"\r\n\r\n5") == 2
    assert answer(b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n").status == 400
