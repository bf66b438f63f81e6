"""The command line: the options that all commands share, and the workspace they act on."""

import atexit
import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline import DISTRIBUTION, __version__
from pipeline.core import variables
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace

app = typer.Typer(
    help="""Run the stages of the pipeline one by one, and use the model that they release.

`dvc repro` runs the stages in order, each only if one of its dependencies has changed.
""",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # which wraps paragraphs to the width of the terminal
    context_settings={"help_option_names": ["-h", "--help"]},
)

RARELY = 70_000  # new objects before Python searches for cycles, by default 700 to 2,000
STAGES, OTHERS = "Stages (run by dvc repro)", "Other commands"


def collect_garbage_rarely() -> None:
    """Make Python search for reference cycles rarely, and not before it ends.

    Importing torch, MLflow or Prefect creates hundreds of thousands of objects, and searching them
    takes a quarter of the time of a process that does little else. Not for commands that process
    data of any size: a cycle would keep it in memory.
    """
    gc.set_threshold(RARELY)
    atexit.register(gc.disable)


def program_name() -> str:
    """The command that started this program, for usage, errors and hints."""
    return DISTRIBUTION if Path(sys.argv[0]).stem == DISTRIBUTION else "python -m pipeline"


def examples(*arguments: str) -> str:
    """The epilog of a command's help: example calls, in Markdown."""
    calls = (f"- `{program_name()} {text}`" for text in arguments)
    return "\n\n".join([f"Example{'s' * (len(arguments) > 1)}:", *calls])


def named_path(text: str) -> Path:
    """The path with this name. UserError if it is empty, as from a variable that is not set."""
    if not text:
        raise UserError("a file name is empty: is a variable not set?")
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
            help="The folder that holds params.yaml; by default the current folder or the nearest "
            "one above it.",
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=show_version, is_eager=True
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Process the options that all commands share."""
    context.obj = workspace
    if debug:
        os.environ[variables.DEBUG.name] = "1"


def named_workspace(context: typer.Context) -> Workspace | None:
    """The workspace that --workspace names; None without it. UserError if it is not a workspace."""
    named: Path | None = context.obj
    return None if named is None else Workspace.at(named)


def find_workspace(context: typer.Context) -> Workspace:
    """The workspace that --workspace names, else that of the current folder. UserError if none."""
    return named_workspace(context) or Workspace.find()
