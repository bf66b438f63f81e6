"""The documentation of the interface, which needs no other server.

All addresses are relative, so that it works behind a proxy, too.
"""

from pathlib import Path

import fastapi_swagger
from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from starlette.requests import Request
from starlette.responses import Response

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The page of Swagger UI."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title=request.app.title,
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="page/icon.svg",
        swagger_ui_parameters={"tryItOutEnabled": True, "displayRequestDuration": True},
    )


router.mount("/docs", StaticFiles(directory=Path(fastapi_swagger.__file__).parent / "resources"))
