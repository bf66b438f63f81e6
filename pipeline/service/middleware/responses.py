"""How responses are sent: to HEAD requests, in chunks, and after an internal error."""

import logging

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.service.errors import error_response

LOG = logging.getLogger(__name__)
CHUNK = 2**16  # bytes


class Head:
    """Handles HEAD as GET without a body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, HEAD as GET."""

        async def allow_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("allow") == "GET":
                    headers["Allow"] = "GET, HEAD"
            await send(message)

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await allow_head(message)

        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, allow_head)
            return
        as_get = {**scope, "method": "GET"}
        try:
            await self.app(as_get, receive, send_head)
        finally:
            scope["route"] = as_get.get("route")  # for the access log


class Chunks:
    """Sends a large response in chunks, each once the client has read those before it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def send_chunks(message: Message) -> None:
            if message["type"] == "http.response.body":
                rest = memoryview(message.get("body", b""))
                while len(rest) > CHUNK:
                    await send({**message, "body": bytes(rest[:CHUNK]), "more_body": True})
                    rest = rest[CHUNK:]
                message = {**message, "body": bytes(rest)}
            await send(message)

        await self.app(scope, receive, send_chunks)


class InternalErrors:
    """Logs an unexpected exception; the client gets a 500, or the response ends early."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        started = False

        async def record_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, record_start)
        except Exception:
            if scope["type"] != "http":
                raise
            LOG.exception("internal error")
            if not started:
                await error_response(500, "internal error")(scope, receive, send)
