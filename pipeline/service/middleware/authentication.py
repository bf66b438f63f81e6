"""Authentication: every route requires the token except those that are open on purpose."""

import hmac

from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.service.errors import error_response

OPEN_ROUTES = frozenset(
    {
        "/",
        "/docs",  # and the files below it
        "/figures/{name}",
        "/openapi.json",
        "/page",  # the files below it
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/{path:path}/",  # redirects to the URL without the slash, which is protected itself
    }
)


class Authentication:
    """Returns 401 for a request without the token, unless its route is open."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self.app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it."""
        if scope["type"] != "http" or self._has_token(scope) or _route(scope) in OPEN_ROUTES:
            await self.app(scope, receive, send)
            return
        response = error_response(
            401,
            "a token is required: Authorization: Bearer TOKEN",
            {"WWW-Authenticate": "Bearer"},
        )
        await response(scope, receive, send)

    def _has_token(self, scope: Scope) -> bool:
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode("latin-1"), self._token)
        return scheme.lower() == "bearer" and is_right


def _route(scope: Scope) -> str | None:
    """The path of the route that the router will choose; None if no route matches."""
    matches = [(route.matches(scope)[0], route) for route in scope["app"].routes]
    for degree in (Match.FULL, Match.PARTIAL):  # partial: another method
        for match, route in matches:
            if match is degree:
                path: str | None = getattr(route, "path", None)
                return path
    return None
