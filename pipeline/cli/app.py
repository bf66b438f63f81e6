"""The command line: the options that all commands share, and the workspace they act on."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline import DISTRIBUTION, __version__
from pipeline.core import variables
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace

app = typer.Typer(
    help="""python -m pipeline COMMAND: the stages one by one, and what is done with their results.

`dvc repro` runs the stages in their order, each only if what it depends on has changed.
""",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # which fills the lines of a paragraph anew, to the terminal
    context_settings={"help_option_names": ["-h", "--help"]},
)

STAGES, OTHERS = "Stages (dvc repro runs them)", "Other commands"


def named_path(text: str) -> Path:
    """The path of this name. UserError if it is empty, as of a variable that is not set."""
    if not text:
        raise UserError("'': an empty name of a file")
    return Path(text)


def show_version(wanted: bool) -> None:
    """Print the version and exit, if `wanted`."""
    if wanted:
        print(f"{DISTRIBUTION} {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    workspace: Annotated[
        Path | None,
        typer.Option(
            parser=named_path,
            metavar="FOLDER",
            help="The folder that holds params.yaml; by default the current one or one above it.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=show_version, is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    """Take the options that all commands share."""
    context.obj = workspace
    if debug:
        os.environ[variables.DEBUG.name] = "1"


def named_workspace(context: typer.Context) -> Workspace | None:
    """The workspace that --workspace names; None without it. UserError if there is none."""
    named: Path | None = context.obj
    return None if named is None else Workspace.at(named)


def find_workspace(context: typer.Context) -> Workspace:
    """The workspace that --workspace names, or that of the current folder. UserError if none."""
    return named_workspace(context) or Workspace.find()
