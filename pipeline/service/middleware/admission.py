"""A limit on the number of requests in progress."""

from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.service.errors import BUSY, error_response
from pipeline.service.shared import Tally


class Admission:
    """Returns 503 for a POST while `limit` others are in progress in the service."""

    def __init__(self, app: ASGIApp, *, in_progress: Tally, limit: int) -> None:
        self.app, self._in_progress, self._limit = app, in_progress, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        if self._in_progress.total() >= self._limit:
            await error_response(503, *BUSY)(scope, receive, send)
            return
        self._in_progress.add(1)
        try:
            await self.app(scope, receive, send)
        finally:
            self._in_progress.add(-1)
