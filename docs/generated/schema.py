"""A JSON schema in words: what a value may be."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

Schema = dict[str, Any]


def describe(schema: Schema, link: Callable[[str], str] = str) -> str:
    """The type and the range of a value. `link`: how to show the name of another schema."""
    if "$ref" in schema:
        return link(str(schema["$ref"]).rpartition("/")[-1])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(describe(each, link) for each in schema["anyOf"]))
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
            mapped = isinstance(values, dict) and values
            return f"mapping to {describe(values, link)}" if mapped else "mapping"
        case "string":
            return f"text that matches `{schema['pattern']}`" if "pattern" in schema else "text"
        case "boolean":
            return "`true` or `false`"
        case "null":
            return "`null`"
    return "any value"


def _array(schema: Schema, link: Callable[[str], str]) -> str:
    if items := schema.get("prefixItems"):
        kinds = list(dict.fromkeys(describe(item, link) for item in items))
        each = f"each {kinds[0]}" if len(kinds) == 1 else "; ".join(kinds)
        return f"list of {len(items)}, {each}"
    match schema.get("minItems"), schema.get("maxItems"):
        case None, None:
            count = "list"
        case least, None:
            count = f"list of at least {least}"
        case None, most:
            count = f"list of at most {most}"
        case least, most:
            count = f"list of {least}" if least == most else f"list of {least} to {most}"
    items = schema.get("items", {})
    return f"{count}, each {describe(items, link)}" if items else count


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
