"""What /docs and /openapi.json say beyond what the framework sees by itself."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field, create_model

from pipeline.core.task import ImageForm
from pipeline.inference.answers import class_fields
from pipeline.inference.signature import Signature
from pipeline.service.messages import request_model
from pipeline.service.pool import ServedModel

SCHEMAS = "#/components/schemas/"
PICTURES, PROTOCOL, OPERATION = "Pictures", "Open Inference Protocol", "Operation"
TAGS = [
    {"name": PICTURES, "description": "A picture file in, its class out."},
    {"name": PROTOCOL, "description": "Version 2, as KServe and Triton have it."},
    {"name": OPERATION, "description": "For those who run the service."},
]


class Problem(BaseModel):
    """What is wrong with a request."""

    error: str


class Answer(BaseModel):
    """What a picture shows."""


NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is no such model."}
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The request is malformed."},
    401: {"model": Problem, "description": "The token is missing or wrong."},
    408: {"model": Problem, "description": "The body did not come in time."},
    413: {"model": Problem, "description": "The body is too large."},
    415: {"model": Problem, "description": "The Content-Encoding is not supported."},
    503: {"model": Problem, "description": "The service is busy; see Retry-After."},
}
BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
INFER_ANSWERS = (
    PROBLEMS
    | NOT_FOUND
    | {200: {"description": "Outputs as JSON, or behind it.", "content": BYTES}}
)
PICTURE = {"schema": {"type": "string", "format": "binary"}}
PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {f"image/{kind}": PICTURE for kind in ("png", "jpeg", "bmp", "tiff")},
    }
}
INFER_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": f"{SCHEMAS}InferRequest"}}},
    }
}


def description(signature: Signature) -> str:
    """What the service does."""
    return f"""Reads {signature.subject}. `/predict` takes a picture file; the routes under `/v2`
are those of the Open Inference Protocol, for its clients, with Triton's extension for binary
tensors. What is wrong with a request is answered as `{{"error": "..."}}`."""


def complete(app: FastAPI, model: ServedModel, *, token: bool) -> None:
    """Complete the description of the interface by what the model's signature says."""
    schema = app.openapi()  # which the framework makes once and keeps
    components = schema["components"]
    for made in (_answer_model(model.signature), request_model(model.signature.form)):
        described = made.model_json_schema(ref_template=f"{SCHEMAS}{{model}}")
        components["schemas"] |= described.pop("$defs", {}) | {made.__name__: described}
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # which is 400 here
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path" and parameter["name"] == "name":
                    parameter["schema"]["enum"] = [model.name]
            if path.endswith("/infer"):
                (content,) = operation["requestBody"]["content"].values()
                example = _example(model.signature.form)
                content["examples"] = {"one": {"summary": "An upright stroke", "value": example}}
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    if token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"token": []}]


def _answer_model(signature: Signature) -> type[BaseModel]:
    keys: Any = {key: (type(value), ...) for key, value in class_fields(signature)[0].items()}
    form = f"{signature.height} rows of {signature.width} pixels: what the model was given"
    return create_model(
        "Answer",
        __doc__=Answer.__doc__,
        **keys,
        confidence=(float, ...),
        probabilities=(list[float], ...),
        image=(list[list[int]] | None, Field(default=None, description=form)),
    )


def _example(form: ImageForm) -> dict[str, Any]:
    """A request with the image of a stroke of two pixels' width, as high as ink may be."""
    top, middle = (form.height - form.ink) // 2, form.width // 2
    data = [
        255 if top <= row < top + form.ink and column in (middle - 1, middle) else 0
        for row in range(form.height)
        for column in range(form.width)
    ]
    shape = [1, form.height, form.width]
    return {"inputs": [{"name": "images", "shape": shape, "datatype": "UINT8", "data": data}]}
