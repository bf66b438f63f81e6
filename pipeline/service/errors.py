"""Error responses in the form of the Open Inference Protocol: {"error": "..."}."""

from collections.abc import Mapping

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

BUSY = ("the service is busy; try again", {"Retry-After": "1"})


def error_response(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """A response with this error."""
    body = orjson.dumps({"error": text})
    return Response(body, status, headers=headers, media_type="application/json")


async def refused(request: Request, error: Exception) -> Response:
    """The response to an HTTPException of the service or the framework."""
    assert isinstance(error, HTTPException)
    text = str(error.detail)
    if error.status_code == 405 and error.headers:
        text = f"{request.method} is not allowed here; use {error.headers['Allow']}"
    return error_response(error.status_code, text, error.headers)


async def bad_parameter(request: Request, error: Exception) -> Response:
    """The response to a query parameter that is unknown or has a bad value."""
    assert isinstance(error, RequestValidationError)
    errors = [f"{found['loc'][-1]}: {found['msg']}" for found in error.errors()]
    return error_response(400, "; ".join(errors))
