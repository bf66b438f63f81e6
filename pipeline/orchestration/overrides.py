"""Overrides of params.yaml: KEY=VALUE as `dvc exp run --set-param` takes them, or a file."""

from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from pipeline.config import load_params, parse_params
from pipeline.core.errors import UserError
from pipeline.core.task import load_task

if TYPE_CHECKING:  # from an extra
    from hydra.core.override_parser.types import Override


def overridden(overrides: Sequence[str], path: Path) -> str:
    """The text of params.yaml with these values, such as train.epochs=2, and otherwise unchanged.

    UserError for a malformed override, an unknown key or an invalid value. (The grammar is Hydra's:
    `[0, 0.1]` is a list, `{a: 1}` a mapping, quotes make a string.)
    """
    load_params(path)
    values = {}
    for text in overrides:
        override = _parse(text)
        values[override.key_or_group] = override.value()
    try:
        return _changed(values, path)
    except UserError as error:
        raise UserError(f"{' '.join(map(repr, overrides))}: {error}") from error


def merged(file: Path, path: Path) -> str:
    """The text of params.yaml with the values of another file that has some of its keys.

    UserError for a file that is missing or not YAML, an unknown key or an invalid value.
    """
    load_params(path)
    try:
        content = YAML(typ="safe", pure=True).load(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    except YAMLError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{file} is not a YAML file of sections and keys like {path}")
    values: dict[str, Any] = {}
    for name, section in content.items():
        if isinstance(section, dict):
            values |= {f"{name}.{key}": value for key, value in section.items()}
        else:
            values[str(name)] = section
    try:
        return _changed(values, path)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


class _Representer(RoundTripRepresenter):
    """Writes null as a word, as the file does, not as an empty value."""


_Representer.add_representer(
    type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null")
)


def _changed(values: Mapping[str, Any], path: Path) -> str:
    """The text of the file with new values for these dotted keys; keeps comments."""
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    content = yaml.load(path)
    for name, value in values.items():
        *sections, key = name.split(".")
        place: Any = content
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not isinstance(place, dict) or key not in place:
            raise UserError(f"{path} has no {name}")
        place[key] = _styled(value)
    changed = StringIO()
    yaml.dump(content, changed)
    load_task(parse_params(changed.getvalue(), path).task, path.parent)
    return changed.getvalue()


def _parse(text: str) -> "Override":
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import OverrideType, ValueType
    from hydra.errors import HydraException

    try:
        (override,) = OverridesParser.create().parse_overrides([text])
    except (HydraException, ValueError, RecursionError) as error:
        raise UserError(f"{text!r}: not of the form KEY=VALUE, as in train.epochs=2") from error
    plain = override.type == OverrideType.CHANGE and override.value_type == ValueType.ELEMENT
    if not plain or override.package:
        raise UserError(f"{text!r}: give one value for one key, as in train.epochs=2")
    return override


def _styled(value: Any) -> Any:
    """Put a list of numbers on one line. Not all YAML parsers accept URLs in such a list."""
    if isinstance(value, list) and not any(isinstance(item, str) for item in value):
        value = CommentedSeq(value)
        value.fa.set_flow_style()
    return value
