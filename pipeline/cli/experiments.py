"""Commands to experiment with: the network's table, the flow, other params."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.app import OTHERS, app, find_workspace, named_path
from pipeline.config import load_params
from pipeline.core.task import load_task


@app.command(rich_help_panel=OTHERS)
def summary(context: typer.Context) -> None:
    """Print the network's layer table."""
    from tabulate import tabulate

    from pipeline.training.network import build_network, count_parameters, layer_table

    workspace = find_workspace(context)
    task = load_task(load_params(workspace.params).task, workspace.root)
    network = build_network(task)
    headers = ("Layer (type)", "Output Shape", "Param #")
    rows = [
        (name, str(shape), f"{count:,}") for name, shape, count in layer_table(network, task.form)
    ]
    print(tabulate(rows, headers, "github", disable_numparse=True, colalign=["right"] * 3))
    print(f"\nTotal params: {count_parameters(network):,}")


@app.command(rich_help_panel=OTHERS)
def flow(
    context: typer.Context,
    targets: Annotated[
        list[str] | None,
        typer.Argument(help="Stages to bring up to date; all, if none is named.", metavar="STAGE"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Run them even if nothing has changed.")
    ] = False,
    set_params: Annotated[
        list[str] | None,
        typer.Option(
            "--set-param",
            "-S",
            metavar="KEY=VALUE",
            help="A value for params.yaml, where it stays, as train.epochs=2; may be repeated.",
        ),
    ] = None,
) -> None:
    """Run the stages as a Prefect flow.

    Each stage is a task that DVC runs, or finds up to date, as `dvc repro` does.
    The runs are kept in .prefect; `make prefect` shows them. With PREFECT_API_URL
    set, that server has them.
    """
    from pipeline.orchestration import dag, settings

    workspace = find_workspace(context)
    dag.read_plan(workspace, targets or [], set_params or [])  # before Prefect, which starts slowly
    settings.use(workspace.root)
    from pipeline.orchestration import flow

    flow.run(workspace, targets or [], force=force, set_params=set_params or [])


@app.command(rich_help_panel=OTHERS)
def use(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            parser=named_path,
            metavar="FILE",
            help="A YAML file of keys and sections of params.yaml.",
        ),
    ],
) -> None:
    """Merge the values of another file, such as params.fast.yaml, into params.yaml.

    They stay there, so that params.yaml always says what made the results;
    `git checkout params.yaml` takes them back.
    """
    from pipeline.core.files import write_text
    from pipeline.orchestration.overrides import merged

    workspace = find_workspace(context)
    write_text(workspace.params, merged(file, workspace.params))
