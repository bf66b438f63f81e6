"""The HTTP interface, from the service's OpenAPI description."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from docs.generated.markdown import attribute_comments, code, sentence, table
from docs.generated.schema import describe
from docs.generated.service import (
    REVIEW_TOKEN,
    TOKEN,
    app,
    app_with_journal,
    ask,
    kept_entry,
    picture,
)
from pipeline.service import limits
from pipeline.service.descriptions import JOURNAL
from pipeline.service.middleware.authentication import ADMIN_PREFIX, OPEN_ROUTES, REVIEW_PREFIX

UNSAID = "Successful Response"  # the description that FastAPI uses by default
WITHOUT_EXAMPLE = {"/metrics"}  # it has a long response, and a separate page


def page() -> str:
    """Operations by tag, with real answers as examples; then limits and schemas."""
    description = app().openapi()
    schemas = description["components"]["schemas"]
    parts = []
    for tag in description["tags"]:
        parts += [f"## {tag['name']}\n", f"{tag['description']}\n"]
        for path, operations in description["paths"].items():
            for method, operation in operations.items():
                if operation["tags"] == [tag["name"]]:
                    parts += _operation(method.upper(), path, operation)
    parts += ["## Limits\n", _limits(), "## Schemas\n"]
    for name, schema in sorted(schemas.items()):
        parts += [f"### {name}\n", f"{schema.get('description', '')}\n", _schema(schema)]
    return "\n".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### {method} {path}\n"
    yield f"{sentence(operation['summary'])} {sentence(operation.get('description', ''))}\n"
    token = "none" if path in OPEN_ROUTES else "the token, if the service has one"
    token = "the admin token" if path.startswith(ADMIN_PREFIX) else token
    token = "the review token or the admin token" if path.startswith(REVIEW_PREFIX) else token
    yield f"Authentication: {token}.\n"
    parameters = [
        [
            code(parameter["name"]),
            parameter["in"],
            "required" if parameter.get("required") else _code(parameter["schema"].get("default")),
            describe(parameter["schema"]),
            sentence(parameter.get("description", parameter["schema"].get("description", ""))),
        ]
        for parameter in operation.get("parameters", [])
    ]
    if parameters:
        yield table(["Parameter", "In", "Default", "Type", "Meaning"], parameters)
    if body := operation.get("requestBody"):
        yield f"Request body: {_content(body['content'])}.\n"
    answers = [
        [status, _meaning(answer["description"]), _content(answer.get("content", {}))]
        for status, answer in sorted(operation["responses"].items())
    ]
    yield table(["Status", "Meaning", "Body"], answers)
    if (example := _example(method, path, operation)) is not None:
        yield f"Example:\n\n```console\n{example}\n```\n"


def _meaning(description: str) -> str:
    """What a status means."""
    return "The request succeeded." if description == UNSAID else sentence(description)


def _content(content: dict[str, Any]) -> str:
    """The media types, each with a link to its schema."""
    shown: dict[str, list[str]] = {}
    for media_type, details in content.items():
        name = details.get("schema", {}).get("$ref", "").rpartition("/")[-1]
        shown.setdefault(name, []).append(code(media_type))
    return "; ".join(
        ", ".join(types) + (f", {_link(name)}" if name else "") for name, types in shown.items()
    )


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _example(method: str, path: str, operation: dict[str, Any]) -> str | None:
    if path in WITHOUT_EXAMPLE or path.startswith(ADMIN_PREFIX):
        return None
    if operation["tags"] == [JOURNAL]:
        return _journal_example(method, path)
    address = path
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            address = address.replace(f"{{{parameter['name']}}}", parameter["schema"]["enum"][0])
    options = "" if path in OPEN_ROUTES else ' --header "Authorization: Bearer $TOKEN"'
    if method == "GET":
        answer = ask(method, address)
    elif path == "/predict":
        address += "?image=false"
        options += " --data-binary @picture.png"
        answer = ask(method, address, content=picture())
    else:
        body = operation["requestBody"]["content"]["application/json"]
        (example,) = body["examples"].values()
        options += " --json @request.json"
        answer = ask(method, address, json=example["value"])
    command = f'$ curl{options} "http://127.0.0.1:8000{address}"'
    return f"{command}\n{_json(answer.json())}"


def _journal_example(method: str, path: str) -> str:
    """A request about an entry, which is new, and the answer."""
    entry, service = kept_entry(), app_with_journal()
    address, body = path.replace("{id}", entry), None
    token = REVIEW_TOKEN if path.startswith(REVIEW_PREFIX) else TOKEN
    options = f' --header "Authorization: Bearer ${token}"'
    if method == "POST":
        body = {"id": entry, "label": "7"}
        if path.startswith(REVIEW_PREFIX):
            body["name"] = "ann"
        options += f" --json '{json.dumps(body)}'"
    elif method == "DELETE":
        options += " --request DELETE"
    else:
        ask(
            "POST", "/feedback", of=service, json={"id": entry, "label": "7"}
        )  # the model disagrees
        service.state.service.journal.write()
        address += "?count=1"
    answer = ask(method, address, of=service, token=token, json=body)
    command = f'$ curl{options} "http://127.0.0.1:8000{address}"'
    if not answer.content:
        return command
    content = answer.json()
    for item in content.get("items", []):  # the other rows are alike
        item["image"] = [*item["image"][:2], "..."]
    return f"{command}\n{_json(content)}"


def _json(value: Any) -> str:
    """JSON with four significant digits, and each list of values on one line."""
    text = json.dumps(_rounded(value), ensure_ascii=False, indent=2)
    return re.sub(r"\[[^\[\]{}]*\]", lambda match: " ".join(match[0].split()), text)


def _rounded(value: Any) -> Any:
    match value:
        case dict():
            return {key: _rounded(item) for key, item in value.items()}
        case list():
            return [_rounded(item) for item in value]
        case float():
            return float(f"{value:.4g}")
    return value


def _code(value: Any) -> str:
    return "" if value is None else code(json.dumps(value))


def _limits() -> str:
    comments = attribute_comments(limits.__name__)
    rows = [
        [code(field.name), f"{field.default:,}", sentence(comments["Limits", field.name])]
        for field in fields(limits.Limits)
    ]
    return table(["Limit", "Value", "Meaning"], rows)


def _schema(schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = [
        [
            code(name),
            "yes" if name in required else "",
            _type(details),
            sentence(details.get("description", "")),
        ]
        for name, details in schema.get("properties", {}).items()
    ]
    return table(["Field", "Required", "Type", "Meaning"], rows)


def _type(schema: dict[str, Any]) -> str:
    """The type in words, with links to schemas."""
    return describe(schema, link=_link)
