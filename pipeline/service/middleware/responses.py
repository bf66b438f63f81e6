"""How answers are sent: those to HEAD, large ones, and those that a defect prevents."""

import logging

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.service.errors import error_response

LOG = logging.getLogger(__name__)
CHUNK = 2**16  # bytes of an answer that are sent at a time


class Head:
    """HEAD is GET without a body, whatever the server makes of it."""

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
            scope["route"] = as_get.get("route")  # for the log


class Chunks:
    """Sends large answers piece by piece, each when the client has read what was before it."""

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


class Defects:
    """A defect is for the log, not for the client, who gets a 500 or half an answer."""

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
            LOG.exception("defect")
            if not started:
                await error_response(500, "internal error")(scope, receive, send)
