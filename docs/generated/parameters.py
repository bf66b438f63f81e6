"""params.yaml: a table for each section, from its comments and the models that validate it."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from docs.generated.markdown import code, sentence, table
from docs.generated.schema import describe
from pipeline.config import Params
from pipeline.core.workspace import PARAMS
from pipeline.training.recipe import BOUNDS, DROPOUT_BOUNDS

ROOT = Path(__file__).parents[2]
LONGEST = 60  # characters of a default; a link to params.yaml replaces longer ones


def page() -> str:
    """Every section in the order of the file."""
    content: CommentedMap = YAML().load((ROOT / PARAMS).read_text(encoding="utf-8"))
    schema = _schema()
    parts = []
    for name, section in content.items():
        about = sentence(comment_of(content, name))
        if isinstance(section, CommentedMap):
            definition = schema["$defs"][schema["properties"][name]["$ref"].rpartition("/")[-1]]
            rows = [
                [
                    code(key),
                    _default(value),
                    describe(definition["properties"][key]),
                    sentence(comment_of(section, key)),
                ]
                for key, value in section.items()
            ]
        else:
            rows, about = [[code(name), _default(section), "path of a package", about]], ""
        columns = ["Key", "Default", "Type and range", "Meaning"]
        parts += [f"## {name}\n", f"{about}\n" if about else "", table(columns, rows)]
    return "\n".join(parts)


def comment_of(section: CommentedMap, key: str) -> str:
    """The comment at the end of the key's line; empty without one."""
    tokens = [token for token in section.ca.items.get(key, []) if hasattr(token, "value")]
    return " ".join(token.value.strip().removeprefix("#").strip() for token in tokens)


def _schema() -> dict[str, Any]:
    """The schema of params.yaml, with the ranges that the recipe itself checks."""
    schema = Params.model_json_schema()
    recipe = schema["$defs"]["Recipe"]["properties"]
    for name, (low, high) in BOUNDS.items():
        recipe[name] |= {"minimum": low, "maximum": high}
    rate = recipe["dropout"]["items"]
    rate |= dict(zip(("minimum", "maximum"), DROPOUT_BOUNDS, strict=True))
    return schema


def _default(value: object) -> str:
    yaml = YAML()
    yaml.default_flow_style = True
    stream = StringIO()
    yaml.dump({"value": json.loads(json.dumps(value, default=float))}, stream)
    text = " ".join(stream.getvalue().strip().removeprefix("{value:").removesuffix("}").split())
    return code(text) if len(text) <= LONGEST else f"see [params.yaml](../../{PARAMS})"
