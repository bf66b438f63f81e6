"""A limit on the number of requests in progress."""

from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.service.errors import BUSY, error_response


class Admission:
    """Returns 503 for a POST while `requests` others are in progress."""

    def __init__(self, app: ASGIApp, *, requests: int) -> None:
        self.app, self._limit, self._in_progress = app, requests, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        if self._in_progress >= self._limit:
            await error_response(503, *BUSY)(scope, receive, send)
            return
        self._in_progress += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._in_progress -= 1
