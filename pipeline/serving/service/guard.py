"""What keeps the service safe: limits, a token, headers; and a line of log for every request."""

import asyncio
import hmac
import logging
import time
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.serving.service.metrics import Metrics
from pipeline.serving.service.problems import problem

LOG = logging.getLogger("pipeline.serving.access")
PROTECTED = ("/predict", "/v2/models", "/metrics")  # what wants the token, if there is one
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
DOCS = "/docs"  # the one page with scripts and styles in its HTML, which is not ours
DOCS_POLICY = f"{POLICY}; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class Limits:
    """What a request may cost."""

    body_bytes: int = 8 * 2**20
    pixels: int = 16_000_000  # of a picture
    images: int = 8192  # in a request
    requests: int = 256  # at a time; to others the service is busy
    seconds: float = 30  # until the body of a request is there


async def read_body(request: Request, limits: Limits) -> bytes:
    """The body of a request. HTTPException if it is larger or slower than the limits allow."""
    too_large = HTTPException(413, f"a request has at most {limits.body_bytes:,} bytes")
    if int(request.headers.get("content-length", 0)) > limits.body_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.body_bytes:
                    raise too_large
    except ClientDisconnect as error:
        raise HTTPException(400, "the body of the request ended too early") from error
    except TimeoutError as error:
        slow = f"the body of the request was not there after {limits.seconds:g} seconds"
        raise HTTPException(408, slow) from error
    return bytes(body)


class Guard:
    """Middleware around the whole service."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics, token: str | None) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics
        self._token = None if token is None else token.encode()
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with what is wrong."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        refusal = self._refusal(scope)
        costly = refusal is None and scope["method"] == "POST"
        self._under_way += costly

        async def send_guarded(message: Message) -> None:
            nonlocal status, costly
            if message["type"] == "http.response.start":
                status = message["status"]
                self._under_way -= costly  # before the client can send its next
                costly = False
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                docs = scope["path"] == DOCS
                headers["Content-Security-Policy"] = DOCS_POLICY if docs else POLICY
            await send(message)

        try:
            await (refusal or self._app)(scope, receive, send_guarded)
        except Exception:
            LOG.exception("defect")  # not for the client, who got a 500 or half an answer
        finally:
            self._under_way -= costly
            self._note(scope, status, time.perf_counter() - started)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        """The answer to a request that may not go on."""
        path: str = scope["path"]
        if path.startswith(PROTECTED) and self._token is not None:
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, b"Bearer " + self._token):
                return problem(
                    401,
                    "a token is wanted: Authorization: Bearer ...",
                    {"WWW-Authenticate": "Bearer"},
                )
        if scope["method"] == "POST" and self._under_way >= self._limits.requests:
            return problem(503, "busy; try again", {"Retry-After": "1"})
        return None

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
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
