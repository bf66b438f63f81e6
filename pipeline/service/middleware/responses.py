"""How responses are sent: their headers, in chunks, to HEAD requests, after an internal error."""

import logging

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.service.errors import error_response

LOG = logging.getLogger(__name__)
CHUNK = 2**16  # bytes
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
DOCS = "/docs"  # Swagger UI, which has scripts and styles in its HTML
DOCS_POLICY = f"{POLICY}; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
HEADERS = {
    "Cache-Control": "no-cache",  # figures and page may change at any time
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
RAW = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


class Responses:
    """Adds security headers for browsers, and handles HEAD as GET without a body.

    A large response is sent in chunks, each once the client has read those before it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, HEAD as GET."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        policy = DOCS_POLICY if scope["path"] == DOCS else POLICY
        added = [*RAW, (b"content-security-policy", policy.encode())]
        is_head = scope["method"] == "HEAD"

        async def send_response(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
                if message["status"] == 405:
                    _allow_head(message)
            elif message["type"] == "http.response.body":
                body = b"" if is_head else message.get("body", b"")
                if len(body) > CHUNK:
                    body = await _send_chunks(message, body, send)
                message["body"] = body
            await send(message)

        if not is_head:
            await self.app(scope, receive, send_response)
            return
        as_get = {**scope, "method": "GET"}
        try:
            await self.app(as_get, receive, send_response)
        finally:
            scope["route"] = as_get.get("route")  # for the access log


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


def _allow_head(message: Message) -> None:
    headers = MutableHeaders(scope=message)
    if headers.get("allow") == "GET":
        headers["Allow"] = "GET, HEAD"


async def _send_chunks(message: Message, body: bytes, send: Send) -> bytes:
    """Send all chunks of a body but the last, which it returns."""
    rest = memoryview(body)
    while len(rest) > CHUNK:
        await send({**message, "body": bytes(rest[:CHUNK]), "more_body": True})
        rest = rest[CHUNK:]
    return bytes(rest)
