"""The documentation of the interface; its pages load nothing from other servers.

All URLs are relative, so that the pages also work behind a proxy that adds a prefix.
"""

from pathlib import Path

import fastapi_swagger
from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import Response

from pipeline.service.routes.static_files import NamedFiles

FOLDER = Path(fastapi_swagger.__file__).parent / "resources"
SCRIPT, STYLE = "swagger-ui-bundle.js", "swagger-ui.css"
router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The page of Swagger UI."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title=request.app.title,
        swagger_js_url=f"docs/{SCRIPT}",
        swagger_css_url=f"docs/{STYLE}",
        swagger_favicon_url="page/icon.svg",
        swagger_ui_parameters={"tryItOutEnabled": True, "displayRequestDuration": True},
    )


router.mount("/docs", NamedFiles(FOLDER, SCRIPT, STYLE))
