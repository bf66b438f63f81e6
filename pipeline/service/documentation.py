"""What /docs and /openapi.json say beyond what the framework derives from the code."""

from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field, create_model

from pipeline.inference.fields import class_fields, field_names
from pipeline.inference.signature import Signature
from pipeline.service.descriptions import BEARER, SCHEMAS, Answer
from pipeline.service.examples import request_example, response_examples
from pipeline.service.journal_messages import Feedback, ReviewedLabel
from pipeline.service.messages import request_model
from pipeline.service.middleware.authentication import ADMIN_PREFIX, OPEN_ROUTES, REVIEW_PREFIX
from pipeline.service.pool import ServedModel
from pipeline.service.repository_messages import IndexRequest, LoadRequest


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
    for made in (answer, infer, IndexRequest, LoadRequest, Feedback, ReviewedLabel):
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
            elif path.startswith(REVIEW_PREFIX):
                operation["security"] = [{"review token": []}]
            elif token and path in OPEN_ROUTES:
                operation["security"] = []
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    if token:
        components["securitySchemes"] = {"token": BEARER}
        schema["security"] = [{"token": []}]
    for name, prefix in (("admin token", ADMIN_PREFIX), ("review token", REVIEW_PREFIX)):
        if any(path.startswith(prefix) for path in schema["paths"]):
            components.setdefault("securitySchemes", {})[name] = BEARER


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
        "id": (str | None, "The id in the journal, if the picture is kept."),
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
