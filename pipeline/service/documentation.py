"""What /docs and /openapi.json say beyond what the framework derives from the code."""

from operator import attrgetter
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field, create_model

from pipeline.inference.fields import class_fields, field_names
from pipeline.inference.signature import Signature
from pipeline.pictures.decoding import FORMATS
from pipeline.service import protocol
from pipeline.service.examples import request_example, response_examples
from pipeline.service.messages import request_model
from pipeline.service.middleware.authentication import ADMIN_PREFIX, OPEN_ROUTES
from pipeline.service.pool import ServedModel
from pipeline.service.repository_messages import IndexRequest, LoadRequest

SCHEMAS = "#/components/schemas/"
PICTURES, PROTOCOL, OPERATION = "Pictures", "Open Inference Protocol", "Operation"
REPOSITORY = "Model repository"
TAGS = [
    {"name": PICTURES, "description": "Send a picture file, get its label."},
    {"name": PROTOCOL, "description": "Version 2 of the inference protocol of KServe and Triton."},
    {"name": REPOSITORY, "description": "Triton's extension for loading other releases."},
    {"name": OPERATION, "description": "Monitor the service."},
]
operation_id = attrgetter("name")  # of a route: the name of its function

Responses = dict[int | str, dict[str, Any]]


class Error(BaseModel):
    """Why a request failed."""

    error: str = Field(examples=["the body is empty"])


class Answer(BaseModel):
    """What a picture shows."""


def _errors(**descriptions: str) -> Responses:
    return {
        int(status.removeprefix("_")): {"model": Error, "description": description}
        for status, description in descriptions.items()
    }


def _header(description: str, kind: str = "string") -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


INTERNAL_ERROR = _errors(_500="An internal error; the service's log has the details.")
NO_TOKEN = _errors(_401="The service requires a token, which is missing or wrong.")
NO_TOKEN[401]["headers"] = {"WWW-Authenticate": _header("Bearer.")}
PROTECTED = NO_TOKEN | INTERNAL_ERROR
NOT_FOUND = _errors(_404="The service has no such model.")
NO_CHALLENGER = _errors(_404="The service has no challenger.")
ADMIN = _errors(_403="The service has no admin token, or the request has the token for use.")
BODY_ERRORS = PROTECTED | _errors(
    _400="The request is malformed.",
    _408="The body did not arrive in time.",
    _413="The body is too large.",
    _415="The service does not support this Content-Encoding.",
    _503="The service is busy; retry later.",
)
BODY_ERRORS[415]["headers"] = {"Accept-Encoding": _header("The supported encodings.")}
BODY_ERRORS[503]["headers"] = {"Retry-After": _header("Seconds to wait.", "integer")}
BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
INFER_RESPONSES: Responses = (
    BODY_ERRORS
    | NOT_FOUND
    | {
        200: {
            "description": "The outputs, as JSON or as bytes after the JSON.",
            "content": BYTES,
            "headers": {
                protocol.HEADER_LENGTH: _header(
                    "The length of the JSON in bytes, if tensors follow.", "integer"
                )
            },
        }
    }
)
METRICS_RESPONSES: Responses = PROTECTED | {
    200: {
        "description": "The metrics in Prometheus's text format.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}
FORBIDDEN = _errors(_403="The token may not change the service, or nobody may.")
BEARER = {"type": "http", "scheme": "bearer"}
PICTURE = {"schema": {"type": "string", "format": "binary"}}
PICTURE_BODY = {
    "requestBody": {
        "description": "The picture file itself, not a form.",
        "required": True,
        "content": {f"image/{kind.lower()}": PICTURE for kind in FORMATS},
    }
}
INDEX_BODY, LOAD_BODY = (
    {
        "requestBody": {
            "content": {
                "application/json": {
                    "schema": {"$ref": f"{SCHEMAS}{name}"},
                    "examples": {"one": {"summary": summary, "value": value}},
                }
            }
        }
    }
    for name, summary, value in (
        ("IndexRequest", "Models in memory", {"ready": True}),
        ("LoadRequest", "Release 2", {"parameters": {"release": 2}}),
    )
)
INFER_BODY = {
    "parameters": [
        {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}},
        {
            "name": protocol.HEADER_LENGTH,
            "in": "header",
            "description": "The length of the JSON in bytes, if tensors follow it.",
            "schema": {"type": "integer", "minimum": 0},
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": f"{SCHEMAS}InferRequest"}},
            **BYTES,
        },
    },
}


def description(signature: Signature) -> str:
    """What the service does."""
    return f"""Classifies {signature.subject}. `/predict` takes a picture file. The routes under
`/v2` follow the Open Inference Protocol, with Triton's extension for binary tensors; a model's
routes also exist with `/versions/VERSION` after its name. Bodies may be compressed with gzip or
deflate. Every error has the form `{{"error": "..."}}`."""


def complete(app: FastAPI, model: ServedModel, *, token: bool) -> None:
    """Complete the description of the interface with what the model's signature says."""
    schema = app.openapi()  # cached by the framework
    components = schema["components"]
    signature = model.signature
    answer, infer = _answer_model(signature), request_model(signature.form)
    for made in (answer, infer, IndexRequest, LoadRequest):
        described = made.model_json_schema(ref_template=f"{SCHEMAS}{{model}}")
        components["schemas"] |= described.pop("$defs", {}) | {made.__name__: described}
    examples = response_examples(model)
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            responses = operation["responses"]
            responses.pop("422", None)  # the service answers 400
            if operation["operationId"] in examples:
                example = examples[operation["operationId"]]
                responses["200"]["content"]["application/json"]["example"] = example
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path" and parameter["name"] == "name":
                    parameter |= {"description": "The model's name."}
                    parameter["schema"]["enum"] = [model.name]
            if path.endswith("/infer"):
                content = operation["requestBody"]["content"]["application/json"]
                value = request_example(model.signature.form)
                content["examples"] = {"one": {"summary": "A vertical stroke", "value": value}}
            if path.startswith(ADMIN_PREFIX):
                operation["security"] = [{"admin token": []}]
            elif token and path in OPEN_ROUTES:
                operation["security"] = []
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    if token:
        components["securitySchemes"] = {"token": BEARER}
        schema["security"] = [{"token": []}]
    if any(path.startswith(ADMIN_PREFIX) for path in schema["paths"]):
        components.setdefault("securitySchemes", {})["admin token"] = BEARER


def _answer_model(signature: Signature) -> type[BaseModel]:
    noun, foreign = signature.noun, signature.foreign
    if_none = f"null if the picture shows no {noun}"
    fields: dict[str, tuple[Any, str]] = {
        **{
            key: (type(value) | None, f"The most probable {key}; {if_none}.")
            for key, value in class_fields(signature)[0].items()
        },
        "confidence": (float | None, "The probability of the most probable label."),
        "set": (list[str] | None, "The labels that it may be, the most probable first."),
        "novelty": (
            float | None,
            f"How little the picture looks like any label: {foreign}, if it is above "
            f"{signature.novelty_threshold:.4g}.",
        ),
        "verdict": (Literal[signature.verdicts], "What the picture shows."),
        "probabilities": (list[float] | None, "One for each label, in their order."),
        "version": (str, "The version of the model."),
        "reason": (str | None, "Why the picture was not classified."),
        "image": (
            list[list[int]] | None,
            f"The model's input: {signature.height} rows of {signature.width} pixels.",
        ),
        "explanation": (
            list[list[float]] | None,
            "By how much the log-odds of the most probable label fall if the ink around a pixel is "
            "erased, in nats; negative if they rise.",
        ),
    }
    always = {*field_names(signature), "version"}
    details: Any = {
        name: (kind, Field(... if name in always else None, description=meaning))
        for name, (kind, meaning) in fields.items()
    }
    return create_model("Answer", __doc__=Answer.__doc__, **details)
