"""URLs with a trailing slash."""

from urllib.parse import quote

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

ANY_METHOD = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
router = APIRouter()


@router.api_route("/{path:path}/", methods=ANY_METHOD, include_in_schema=False)
async def without_slash(path: str, request: Request) -> Response:
    """Redirect to the URL without the slash; relative, since a proxy may add a prefix."""
    if not path or path.endswith("/"):
        raise HTTPException(404)
    query = f"?{request.url.query}" if request.url.query else ""
    address = f"../{quote(path.rpartition('/')[-1])}{query}"
    return Response(status_code=307, headers={"Location": address})
