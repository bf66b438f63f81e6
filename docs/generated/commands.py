"""The commands, from the Typer application."""

from collections.abc import Iterator
from enum import Enum
from itertools import groupby
from typing import Any

import typer

from docs.generated.markdown import code, sentence, table
from pipeline.cli import app

PROGRAM = "gated-mnist"


def page() -> str:
    """The options that all commands share, then the commands by group."""
    root: Any = typer.main.get_command(app)
    parts = ["## Options of all commands\n", _options(root)]
    commands = [command for command in root.commands.values() if not command.hidden]
    for panel, group in groupby(commands, key=lambda command: command.rich_help_panel):
        parts += [f"## {panel}\n", *(text for command in group for text in _texts(command))]
    return "\n".join(parts)


def _texts(command: Any) -> Iterator[str]:
    """What is said of a command or, if it is a group, of each command in it."""
    if hasattr(command, "commands"):
        for each in command.commands.values():
            yield _command(each, f"{command.name} {each.name}")
    else:
        yield _command(command, command.name)


def _command(command: Any, name: str) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument" and not p.hidden]
    usage = " ".join(filter(None, [PROGRAM, name, *map(_usage, command.params)]))
    parts = [f"### {name}\n", f"```text\n{usage}\n```\n", f"{command.help}\n"]
    if arguments:
        rows = [
            [code(_metavar(p)), sentence(p.help or ""), code(p.envvar or "")] for p in arguments
        ]
        parts += [table(["Argument", "Meaning", "Variable"], rows)]
    parts += [_options(command), f"{command.epilog or ''}\n"]
    return "\n".join(parts)


def _options(command: Any) -> str:
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    if not options:
        return ""
    rows = [
        [
            ", ".join(map(code, [*p.opts, *p.secondary_opts])),
            "" if p.is_flag else code(_metavar(p)),
            _default(p),
            sentence(p.help or ""),
            code(p.envvar or ""),
        ]
        for p in options
    ]
    return table(["Option", "Value", "Default", "Meaning", "Variable"], rows)


def _usage(parameter: Any) -> str:
    if parameter.hidden:
        return ""
    if parameter.param_type_name == "argument":
        name = _metavar(parameter)
        name += "..." if parameter.nargs == -1 and not name.endswith("...") else ""
    else:
        name = parameter.opts[0] + ("" if parameter.is_flag else f" {_metavar(parameter)}")
    return name if parameter.required else f"[{name}]"


def _metavar(parameter: Any) -> str:
    if parameter.metavar:
        return str(parameter.metavar)
    kind = parameter.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(member.value for member in kind)
    return "NUMBER" if kind in (int, float) else str(parameter.name).upper()


def _default(option: Any) -> str:
    if option.required:
        return "required"
    if option.is_flag or option.default is None:
        return ""
    return code(option.default)
