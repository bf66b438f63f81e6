"""What is wrong with a request, as the Open Inference Protocol has it: {"error": "..."}."""

from collections.abc import Mapping

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

BUSY = ("busy; try again", {"Retry-After": "1"})


def error_response(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """A response that says what is wrong."""
    body = orjson.dumps({"error": text})
    return Response(body, status, headers=headers, media_type="application/json")


async def refused(request: Request, error: Exception) -> Response:
    """The response to what the service or the framework refused."""
    assert isinstance(error, HTTPException)
    text = str(error.detail)
    if error.status_code == 405 and error.headers:
        text = f"{request.method} does not work here; use {error.headers['Allow']}"
    return error_response(error.status_code, text, error.headers)


async def bad_parameter(request: Request, error: Exception) -> Response:
    """The response to a query that is not what the route takes."""
    assert isinstance(error, RequestValidationError)
    faults = [f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors()]
    return error_response(400, "; ".join(faults))
