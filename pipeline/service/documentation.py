"""What /docs and /openapi.json say beyond what the framework sees by itself."""

from pathlib import Path
from typing import Any

import fastapi_swagger
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from starlette.responses import Response

from pipeline.service import protocol

SCHEMAS = "#/components/schemas/"
SWAGGER = Path(fastapi_swagger.__file__).parent / "resources"
DESCRIPTION = """Reads handwritten digits. `/predict` takes a picture file; the routes under `/v2`
are those of the Open Inference Protocol, for its clients, with Triton's extension for binary
tensors. What is wrong with a request is answered as `{"error": "..."}`."""
PICTURES, PROTOCOL, OPERATION = "Pictures", "Open Inference Protocol", "Operation"
TAGS = [
    {"name": PICTURES, "description": "A picture file in, a digit out."},
    {"name": PROTOCOL, "description": "Version 2, as KServe and Triton have it."},
    {"name": OPERATION, "description": "For those who run the service."},
]


class Problem(BaseModel):
    """What is wrong with a request."""

    error: str


class Answer(BaseModel):
    """What a picture shows."""

    digit: int
    confidence: float
    probabilities: list[float]
    image: list[list[int]] | None = None  # 28 rows of 28 pixels: what the model was given


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The request is malformed."},
    401: {"model": Problem, "description": "The token is missing or wrong."},
    408: {"model": Problem, "description": "The body did not come in time."},
    413: {"model": Problem, "description": "The body is too large."},
    415: {"model": Problem, "description": "The Content-Encoding is not supported."},
    503: {"model": Problem, "description": "The service is busy; see Retry-After."},
}
BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
INFER_ANSWERS = PROBLEMS | {
    200: {"description": "Outputs as JSON, or behind it.", "content": BYTES}
}
PICTURE = {"schema": {"type": "string", "format": "binary"}}
PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {f"image/{kind}": PICTURE for kind in ("png", "jpeg", "bmp", "tiff")},
    }
}
ONE = [
    255 if 4 <= row < 24 and column in (13, 14) else 0 for row in range(28) for column in range(28)
]
EXAMPLE = {"inputs": [{"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": ONE}]}
INFER_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": f"{SCHEMAS}InferRequest"},
                "examples": {"one": {"summary": "An image of a 1", "value": EXAMPLE}},
            }
        },
    }
}


def document(app: FastAPI, *, token: bool) -> None:
    """Add /docs, which needs no other server, and complete the description of the interface.

    All addresses are relative, so that it works behind a proxy, too.
    """

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="page/icon.svg",
            swagger_ui_parameters={"tryItOutEnabled": True, "displayRequestDuration": True},
        )

    app.mount("/docs", StaticFiles(directory=SWAGGER))
    schema = app.openapi()  # which the framework makes once and keeps
    components = schema["components"]
    request = protocol.InferRequest.model_json_schema(ref_template=f"{SCHEMAS}{{model}}")
    parts = request.pop("$defs", {})
    components["schemas"].update(parts | {"InferRequest": request})
    for routes in schema["paths"].values():
        for operation in routes.values():
            operation["responses"].pop("422", None)  # which is 400 here
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    if token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"token": []}]
