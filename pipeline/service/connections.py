"""Connections, closed when their client sends or reads too slowly."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.service.limits import Limits


class Connection(H11Protocol):
    """A connection that closes when it has waited too long for its client.

    It waits for the head of a request, or for the client to read a response. `bodies` limits the
    time for the body of a request.
    """

    def __init__(
        self, *, limits: Limits, waiting: dict["Connection", None], **options: Any
    ) -> None:
        """`waiting`: all waiting connections, which share it; the longest wait comes first."""
        super().__init__(**options)
        self._limits, self._waiting = limits, waiting
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
        super().data_received(data)
        self._watch()

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
