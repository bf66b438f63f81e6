"""The access log: one line per request, which is also counted for Prometheus."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.service.metrics import NO_ROUTE, Metrics
from pipeline.service.middleware.request_ids import REQUEST_ID

LOG = logging.getLogger("pipeline.service.access")
LONGEST_PATH = 500  # characters
MODEL = "pipeline.model"  # in the scope of a request: the ServedModel that answers it


class AccessLog:
    """Logs and counts each request after its response has been sent or has failed."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def record_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, record_status)
        finally:
            self._record(scope, status, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", NO_ROUTE)
        self._metrics.record_response(route, scope["method"], status, seconds)
        fields = {
            "method": scope["method"],
            "path": scope["path"][:LONGEST_PATH],
            "status": status,
            "milliseconds": round(1000 * seconds, 3),
            "client": (scope.get("client") or ["?"])[0],
            "request_id": scope[REQUEST_ID],
        }
        if (model := scope.get(MODEL)) is not None:
            fields |= {"version": model.version, "release": model.release}
        LOG.info("request", extra=fields)
