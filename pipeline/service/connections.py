"""Connections, closed when their client sends too large a head, or sends or reads too slowly."""

import asyncio
from http import HTTPStatus
from typing import Any

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pipeline.service.limits import Limits

PIECE = 2**16  # bytes that are parsed at a time
PIPELINED = 100  # requests of a connection that wait for the response to an earlier one


class Connection(HttpToolsProtocol):
    """A connection with bounds on the head of a request, and on the wait for its client.

    It waits for the head of a request, or for the client to read a response. `bodies` limits the
    time for the body of a request.
    """

    def __init__(
        self, *, limits: Limits, waiting: dict["Connection", None], **options: Any
    ) -> None:
        """`waiting`: all waiting connections, which share it; the longest wait comes first."""
        super().__init__(**options)
        self._limits, self._waiting = limits, waiting
        self._head = 0  # bytes of the head so far, trailers included
        self._pending = 0  # bytes that the parser may keep: of a line that has not ended
        self._seconds: float | None = None  # the time limit while it waits
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """If there are too many connections, close the one that has waited longest."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            next(iter(self._waiting), self).transport.abort()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Receive bytes from the client."""
        for start in range(0, len(data), PIECE):
            self._parse(data[start : start + PIECE])
            if self.transport.is_closing():
                return
        self._watch()

    def on_message_begin(self) -> None:
        """The head of a request begins."""
        if len(self.pipeline) >= PIPELINED:
            raise ValueError("too many pipelined requests")
        self._head = self._pending = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the URL has arrived."""
        self._head += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or trailer has arrived. ValueError if there are too many or too large ones."""
        self._head += len(name) + len(value)
        self._pending = 0
        super().on_header(name, value)
        if self._is_too_large():
            raise ValueError("the head is too large")

    def on_headers_complete(self) -> None:
        """The head is complete."""
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body has arrived."""
        self._pending = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Reject a request that is not valid HTTP or has too large a head."""
        status, text = HTTPStatus.BAD_REQUEST, "the request is not valid HTTP"
        if self._is_too_large():
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            text = (
                f"the head of the request exceeds the limit of {self._limits.head_bytes:,} bytes "
                f"or {self._limits.headers} headers"
            )
        body = orjson.dumps({"error": text})
        head = (
            f"HTTP/1.1 {status} {status.phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """Wait for the client to read the response."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """The client has read most of the response."""
        super().resume_writing()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._wait(None)

    def on_message_complete(self) -> None:
        """The request is complete, unless the parser has skipped its body to upgrade."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _parse(self, piece: bytes) -> None:
        self._pending += len(piece)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(piece[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")
        else:
            if self._is_too_large() and not self.transport.is_closing():
                self.send_400_response("")

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Parse a request again without its wish to upgrade, which the parser takes for granted.

        Clients that would prefer HTTP/2 send it, and accept a response by HTTP/1.1.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("")
            return
        lines = [b"%b %b HTTP/1.1" % (method, self.url)]
        for name, value in self.headers:
            if name == b"connection":
                value = b"close" if b"close" in value.lower() else b"keep-alive"
            if name != b"upgrade":
                lines.append(b"%b: %b" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"\r\n".join([*lines, b"", b""]) + rest)

    def _is_too_large(self) -> bool:
        limits = self._limits
        return max(self._head, self._pending) > limits.head_bytes or (
            len(self.headers or ()) > limits.headers
        )

    def _watch(self) -> None:
        if self.flow.write_paused:
            self._wait(self._limits.seconds)
        elif self.cycle is None or self.cycle.response_complete:
            self._wait(self._limits.head_seconds)
        else:
            self._wait(None)

    def _wait(self, seconds: float | None) -> None:
        """Wait for the client at most this long; a wait that has begun is not extended."""
        if seconds == self._seconds:
            return
        self._seconds = seconds
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.pop(self, None)
        if seconds is not None:
            self._timer = self.loop.call_later(seconds, self.transport.abort)
            self._waiting[self] = None
