"""What keeps the service safe: limits, a token, headers; and a line of log for every request."""

import hmac
import logging
import time
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.service.metrics import Metrics
from pipeline.service.problems import problem

LOG = logging.getLogger("pipeline.service.access")
OPEN = {"/", "/docs", "/openapi.json", "/v2"}  # what needs no token, and
OPEN_BELOW = ("/docs/", "/figures/", "/page/", "/v2/health/")  # what lies below these
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
DOCS = "/docs"  # the one page with scripts and styles in its HTML, which is not ours
DOCS_POLICY = f"{POLICY}; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
HEADERS = {
    "Cache-Control": "no-cache",  # figures and page may change at any time
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
BUSY = ("busy; try again", {"Retry-After": "1"})
CHUNK = 2**16  # bytes of an answer that are sent at a time


@dataclass(frozen=True)
class Limits:
    """What requests may cost."""

    body_bytes: int = 8 * 2**20
    held_bytes: int = 256 * 2**20  # of all bodies at a time; others get 503
    pixels: int = 16_000_000  # of a picture
    images: int = 8192  # in a request
    requests: int = 256  # at a time, until their answers are sent; others get 503
    connections: int = 4000  # at a time; for another the one that has been idle longest is closed
    head_seconds: float = 10  # until the head of a request is there
    seconds: float = 30  # until its body is there, and until a client reads on in its answer
    queue_seconds: float = 10  # until a thread is free to work on it


class Guard:
    """Middleware around the whole service."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics, token: str | None) -> None:
        self.app = app
        self._limits, self._metrics = limits, metrics
        self._token = None if token is None else token.encode()
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with what is wrong. HEAD is GET without a body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        refusal = self._refusal(scope)
        costly = refusal is None and scope["method"] == "POST"
        self._under_way += costly
        head = scope["method"] == "HEAD"
        routed = {**scope, "method": "GET"} if head else scope

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers["Content-Security-Policy"] = (
                    DOCS_POLICY if scope["path"] == DOCS else POLICY
                )
                if headers.get("allow") == "GET":
                    headers["Allow"] = "GET, HEAD"
            elif message["type"] == "http.response.body":
                rest = memoryview(b"" if head else message.get("body", b""))
                while len(rest) > CHUNK:  # each waits until the client has read what was before it
                    await send({**message, "body": bytes(rest[:CHUNK]), "more_body": True})
                    rest = rest[CHUNK:]
                message = {**message, "body": bytes(rest)}
            await send(message)

        try:
            await (refusal or self.app)(routed, receive, send_guarded)
        except Exception:
            LOG.exception("defect")  # not for the client, who got a 500 or half an answer
        finally:
            self._under_way -= costly
            route = getattr(routed.get("route"), "path", "none")
            self._note(scope, route, status, time.perf_counter() - started)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        """The answer to a request that may not go on."""
        path: str = scope["path"]
        if not (self._token is None or path in OPEN or path.startswith(OPEN_BELOW)):
            scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode("latin-1"), self._token)
            if scheme.lower() != "bearer" or not right:
                return problem(
                    401,
                    "a token is required: Authorization: Bearer TOKEN",
                    {"WWW-Authenticate": "Bearer"},
                )
        if scope["method"] == "POST" and self._under_way >= self._limits.requests:
            return problem(503, *BUSY)
        return None

    def _note(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.answered(route, method, status, seconds)
        LOG.info(
            "request",
            extra={
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "milliseconds": round(1000 * seconds, 3),
                "client": (scope.get("client") or ["?"])[0],
            },
        )
