"""How many requests are worked on at a time."""

from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.service.errors import BUSY, error_response


class Admission:
    """Answers 503 to a POST beyond so many whose answers are not yet sent."""

    def __init__(self, app: ASGIApp, *, requests: int) -> None:
        self.app, self._most, self._under_way = app, requests, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        if self._under_way >= self._most:
            await error_response(503, *BUSY)(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._under_way -= 1
