"""Authentication: which routes require which token, and which are open on purpose."""

import hmac

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.core.variables import ADMIN_TOKEN, REVIEW_TOKEN
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
        "/review",  # the page alone
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/{path:path}/",  # redirects to the URL without the slash, which is protected itself
    }
)


ADMIN_PREFIX = "/v2/repository/models/"  # all routes that change the service begin with it
REVIEW_PREFIX = "/review/"  # all routes that show people's images begin with it


class Authentication:
    """Rejects requests without the token that their route requires.

    Routes below `ADMIN_PREFIX` require the admin token, those below `REVIEW_PREFIX` that or the
    review token; if the service has no such token, they return 403 to everyone. If there is a token
    for use, all other routes except the open ones require any of the three.
    """

    def __init__(self, app: ASGIApp, *, tokens: Tokens) -> None:
        self.app = app
        self._use, self._review, self._admin = (
            None if token is None else token.encode()
            for token in (tokens.use, tokens.review, tokens.admin)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given, path = _token(scope), scope["path"]
        is_admin, is_reviewer = _equal(given, self._admin), _equal(given, self._review)
        is_user = is_reviewer or _equal(given, self._use)
        if path.startswith(ADMIN_PREFIX):
            allowed, possible, what = is_admin, self._admin is not None, "change"
        elif path.startswith(REVIEW_PREFIX):
            allowed = is_admin or is_reviewer
            possible, what = bool(self._admin or self._review), "review"
        else:
            allowed = is_admin or is_user or self._use is None or _is_open(scope)
            possible, what = True, "use"
        if allowed:
            await self.app(scope, receive, send)
        else:
            await _refusal(what, possible=possible, is_user=is_user)(scope, receive, send)


def _refusal(what: str, *, possible: bool, is_user: bool) -> Response:
    """The response to a request without the token that its route requires."""
    token, variable, act = {
        "change": ("the admin token", ADMIN_TOKEN.name, "change this service"),
        "review": ("the review token", REVIEW_TOKEN.name, "review what this service keeps"),
        "use": ("a token", "", ""),
    }[what]
    if not possible:
        return error_response(403, f"nobody may {act}: it was started without {variable}")
    if is_user:
        return error_response(403, f"this token may not {act}; send {token}")
    text = f"{token} is required: Authorization: Bearer TOKEN"
    return error_response(401, text, {"WWW-Authenticate": "Bearer"})


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
