"""Authentication: which routes require which token, and which are open on purpose."""

import hmac

from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.core.variables import ADMIN_TOKEN
from pipeline.service.errors import error_response
from pipeline.service.token import Tokens

OPEN_ROUTES = frozenset(
    {
        "/",
        "/docs",  # and the files below it
        "/figures/{name}",
        "/hooks/mlflow",  # its messages are signed
        "/openapi.json",
        "/page",  # the files below it
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/{path:path}/",  # redirects to the URL without the slash, which is protected itself
    }
)


ADMIN_PREFIX = "/v2/repository/models/"  # all routes that change the service begin with it


class Authentication:
    """Rejects requests without the token that their route requires.

    Routes below `ADMIN_PREFIX` require the admin token; without one, they return 403 to everyone.
    If there is a token for use, all other routes except the open ones require either token.
    """

    def __init__(self, app: ASGIApp, *, tokens: Tokens) -> None:
        self.app = app
        self._use = None if tokens.use is None else tokens.use.encode()
        self._admin = None if tokens.admin is None else tokens.admin.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given, for_admin = _token(scope), scope["path"].startswith(ADMIN_PREFIX)
        is_admin, is_user = _equal(given, self._admin), _equal(given, self._use)
        if is_admin or (not for_admin and (self._use is None or is_user or _is_open(scope))):
            await self.app(scope, receive, send)
        elif for_admin and self._admin is None:
            text = f"nobody may change this service: it was started without {ADMIN_TOKEN.name}"
            await error_response(403, text)(scope, receive, send)
        elif is_user:
            text = "this token may use the service, but not change it; send the admin token"
            await error_response(403, text)(scope, receive, send)
        else:
            kind = "the admin token" if for_admin else "a token"
            text = f"{kind} is required: Authorization: Bearer TOKEN"
            headers = {"WWW-Authenticate": "Bearer"}
            await error_response(401, text, headers)(scope, receive, send)


def _token(scope: Scope) -> bytes | None:
    """The token that the client has sent."""
    scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
    return given.strip().encode("latin-1") if scheme.lower() == "bearer" else None


def _equal(given: bytes | None, token: bytes | None) -> bool:
    """Whether the client has sent this token; takes the same time for every wrong one."""
    return given is not None and token is not None and hmac.compare_digest(given, token)


def _is_open(scope: Scope) -> bool:
    return _route(scope) in OPEN_ROUTES


def _route(scope: Scope) -> str | None:
    """The path of the route that the router will choose; None if no route matches."""
    matches = [(route.matches(scope)[0], route) for route in scope["app"].routes]
    for degree in (Match.FULL, Match.PARTIAL):  # partial: another method
        for match, route in matches:
            if match is degree:
                path: str | None = getattr(route, "path", None)
                return path
    return None
