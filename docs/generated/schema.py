"""A JSON schema in words: what a value may be."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

Schema = dict[str, Any]


def describe(schema: Schema, link: Callable[[str], str] = str) -> str:
    """The type and the range of a value. `link`: how to show the name of another schema."""
    if "$ref" in schema:
        return link(str(schema["$ref"]).rpartition("/")[-1])
    if "anyOf" in schema:
        kinds = dict.fromkeys(describe(each, link) for each in schema["anyOf"])
        return (", or " if any("," in kind for kind in kinds) else " or ").join(kinds)
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    match schema.get("type"):
        case "number" | "integer" as kind:
            return _with_range(kind, schema)
        case "array":
            return _array(schema, link)
        case "object":
            values = schema.get("additionalProperties")
            if isinstance(values, dict) and values:
                return f"mapping to {_plural(describe(values, link))}"
            return "mapping"
        case "string":
            return f"string matching `{schema['pattern']}`" if "pattern" in schema else "string"
        case "boolean":
            return "boolean"
        case "null":
            return "`null`"
    return "any value"


def _array(schema: Schema, link: Callable[[str], str]) -> str:
    if items := schema.get("prefixItems"):
        kinds = [describe(item, link) for item in items]
        alike = len(set(kinds)) == 1
        return f"list of {len(items)}" + (
            f" {_plural(kinds[0])}" if alike else f": {'; '.join(kinds)}"
        )
    match schema.get("minItems"), schema.get("maxItems"):
        case None, None:
            count = ""
        case least, None:
            count = f"at least {least} "
        case None, most:
            count = f"at most {most} "
        case least, most:
            count = f"{least} " if least == most else f"{least} to {most} "
    if kind := schema.get("items"):
        each = describe(kind, link)
        return f"list of {count}{each if count.endswith('1 ') else _plural(each)}"
    return f"list of {count}values" if count else "list"


def _plural(kind: str) -> str:
    """The description of several values: numbers, 0 to 1."""
    return re.sub(r"^(boolean|integer|list|mapping|number|string)\b", r"\1s", kind)


def _with_range(kind: str, schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{kind}, {_number(low)} to {_number(high)}"
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "greater than",
        "maximum": "at most",
        "exclusiveMaximum": "less than",
    }
    limits = [f"{word} {_number(schema[key])}" for key, word in words.items() if key in schema]
    return ", ".join([kind, *limits])


def _number(value: float) -> str:
    """In digits, without an exponent."""
    return f"{int(value):,}" if value == int(value) else f"{Decimal(str(value)):f}"
