"""Request ids: each request has one, which its response and the access log name."""

import re
import secrets

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-Id"
REQUEST_ID = "pipeline.request_id"  # in the scope of a request
VALID = re.compile(r"[!-~]{1,128}")
_RAW = HEADER.lower().encode()


class RequestIds:
    """Takes the id that a client or proxy has sent, else generates one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its id in the scope."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if VALID.fullmatch(given) else secrets.token_hex(8)
        scope[REQUEST_ID] = request_id
        header = _RAW, request_id.encode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], header]
            await send(message)

        await self.app(scope, receive, send_with_id)
