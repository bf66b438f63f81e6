"""A JSON schema in words: what a value may be."""

from decimal import Decimal
from typing import Any

Schema = dict[str, Any]


def describe(schema: Schema, name: str = "") -> str:
    """The type and the range of a value. `name`: how to show a schema that is only referred to."""
    if "$ref" in schema:
        return name or str(schema["$ref"]).rpartition("/")[-1]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(describe, schema["anyOf"])))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    match schema.get("type"):
        case "number" | "integer" as kind:
            return _with_range("integer" if kind == "integer" else "number", schema)
        case "array":
            return _array(schema)
        case "object":
            values = schema.get("additionalProperties")
            return (
                f"mapping to {describe(values)}"
                if isinstance(values, dict) and values
                else "mapping"
            )
        case "string":
            return f"text that matches `{schema['pattern']}`" if "pattern" in schema else "text"
        case "boolean":
            return "`true` or `false`"
        case "null":
            return "`null`"
    return "any value"


def _array(schema: Schema) -> str:
    if items := schema.get("prefixItems"):
        kinds = list(dict.fromkeys(map(describe, items)))
        each = f"each {kinds[0]}" if len(kinds) == 1 else "; ".join(kinds)
        return f"list of {len(items)}, {each}"
    least, most = schema.get("minItems"), schema.get("maxItems")
    count = {
        (None, None): "list",
        (least, None): f"list of at least {least}",
        (None, most): f"list of at most {most}",
        (least, least): f"list of {least}",
    }.get((least, most), f"list of {least} to {most}")
    items = schema.get("items", {})
    return f"{count}, each {describe(items)}" if items else count


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
