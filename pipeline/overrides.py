"""Other values for params.yaml, KEY=VALUE as `dvc exp run --set-param` takes them."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.errors import HydraException
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from pipeline.errors import UserError
from pipeline.params import PARAMS, load_params, parse_params


def overridden(overrides: Sequence[str], path: Path = PARAMS) -> str:
    """The text of params.yaml with these values, each as in train.epochs=2; the rest as it is.

    UserError for what is no override, for a key that is not there, and for a value that it cannot
    have. (The grammar is Hydra's: `[0, 0.1]` is a list, `{a: 1}` a mapping, quotes make a text.)
    """
    load_params(path)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    content = yaml.load(path)
    for text in overrides:
        override = _parse(text)
        *sections, key = override.key_or_group.split(".")
        place: Any = content
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not isinstance(place, dict) or key not in place:
            raise UserError(f"{text!r}: {path} has no {override.key_or_group}")
        place[key] = _styled(override.value())
    changed = StringIO()
    yaml.dump(content, changed)
    try:
        parse_params(changed.getvalue(), path)
    except UserError as error:
        raise UserError(f"{' '.join(map(repr, overrides))}: {error}") from error
    return changed.getvalue()


def _parse(text: str) -> Override:
    try:
        (override,) = OverridesParser.create().parse_overrides([text])
    except (HydraException, ValueError, RecursionError) as error:
        raise UserError(f"{text!r}: not of the form KEY=VALUE, as in train.epochs=2") from error
    plain = override.type == OverrideType.CHANGE and override.value_type == ValueType.ELEMENT
    if not plain or override.package:
        raise UserError(f"{text!r}: give one value for one key, as in train.epochs=2")
    return override


def _styled(value: Any) -> Any:
    """Numbers in one line; texts a line each, for not every parser takes an address in brackets."""
    if isinstance(value, list) and not any(isinstance(item, str) for item in value):
        value = CommentedSeq(value)
        value.fa.set_flow_style()
    return value
