"""How the routes describe their requests and responses in /openapi.json."""

from operator import attrgetter
from typing import Any

from pydantic import BaseModel, Field

from pipeline.pictures.decoding import FORMATS
from pipeline.service.journal_messages import JOURNAL_ID
from pipeline.service.protocol import HEADER_LENGTH

SCHEMAS = "#/components/schemas/"
PICTURES, PROTOCOL, OPERATION = "Pictures", "Open Inference Protocol", "Operation"
REPOSITORY, JOURNAL = "Model repository", "Journal"
TAGS = [
    {"name": PICTURES, "description": "Send a picture file, get its label."},
    {"name": PROTOCOL, "description": "Version 2 of the inference protocol of KServe and Triton."},
    {"name": REPOSITORY, "description": "Triton's extension for loading other releases."},
    {"name": JOURNAL, "description": "Label what the service has kept, or remove it."},
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
                HEADER_LENGTH: _header(
                    "The length of the JSON in bytes, if tensors follow.", "integer"
                )
            },
        }
    }
)
INFER_RESPONSES[200]["headers"][JOURNAL_ID] = _header(
    "The id of the first image in the journal, if the images are kept. Those of the others follow "
    "as numbers."
)
METRICS_RESPONSES: Responses = PROTECTED | {
    200: {
        "description": "The metrics in Prometheus's text format.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}
BEARER = {"type": "http", "scheme": "bearer"}
PICTURE = {"schema": {"type": "string", "format": "binary"}}
PICTURE_BODY = {
    "requestBody": {
        "description": "The picture file itself, not a form.",
        "required": True,
        "content": {f"image/{kind.lower()}": PICTURE for kind in FORMATS},
    }
}
NO_ENTRY = _errors(_404="The service keeps no journal, or it has no such id.")
TOO_MANY = _errors(_429="The client has sent too many labels.")
TOO_MANY[429]["headers"] = {"Retry-After": _header("Seconds to wait.", "integer")}
LABEL_ERRORS = BODY_ERRORS | NO_ENTRY | TOO_MANY
REMOVAL_ERRORS = PROTECTED | NO_ENTRY | TOO_MANY | _errors(_503="The disk is full.")
NO_REVIEWER = NO_ENTRY | _errors(
    _403="The service has no review token, or the request has the token for use."
)
QUEUE_ERRORS = PROTECTED | NO_REVIEWER | _errors(_400="The request is malformed.")
REVIEW_ERRORS = BODY_ERRORS | NO_REVIEWER
ENTRY_ID = "01a21ea2-2355-7910-921b-8b0593f3c000"
INDEX_BODY, LOAD_BODY, FEEDBACK_BODY, REVIEW_BODY = (
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
        ("Feedback", "A label", {"id": ENTRY_ID, "label": "7"}),
        ("ReviewedLabel", "A label", {"id": ENTRY_ID, "label": "7", "name": "ann"}),
    )
)
INFER_BODY = {
    "parameters": [
        {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}},
        {
            "name": HEADER_LENGTH,
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
