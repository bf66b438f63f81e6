"""Commands for experiments: the layer table, the flow, other parameters."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.app import (
    OTHERS,
    app,
    collect_garbage_rarely,
    examples,
    find_workspace,
    named_path,
)
from pipeline.config import load_params
from pipeline.core.task import load_task


@app.command(rich_help_panel=OTHERS)
def summary(context: typer.Context) -> None:
    """Print the network's layers and parameters.

    The table lists each layer with its output shape and its number of parameters.
    """
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


@app.command(
    rich_help_panel=OTHERS, epilog=examples("flow", "flow evaluate -S train.epochs=2 --force")
)
def flow(
    context: typer.Context,
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            help="Stages to bring up to date, with their dependencies; by default all.",
            metavar="STAGE",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Run the stages even if nothing has changed.")
    ] = False,
    set_params: Annotated[
        list[str] | None,
        typer.Option(
            "--set-param",
            "-S",
            metavar="KEY=VALUE",
            help="Set this value in params.yaml permanently before the run; repeatable.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the stages as a Prefect flow.

    Each stage is a task, which DVC runs unless it is up to date, as in `dvc repro`. Prefect
    records the runs in .prefect, and `make prefect` shows them. If PREFECT_API_URL is set,
    that server records them instead.
    """
    from pipeline.orchestration import dag, settings

    collect_garbage_rarely()
    workspace = find_workspace(context)
    dag.read_plan(workspace, targets or [], set_params or [])  # before the slow import of Prefect
    settings.use(workspace.root)
    from pipeline.orchestration import flow

    flow.run(workspace, targets or [], force=force, set_params=set_params or [])


@app.command(rich_help_panel=OTHERS, epilog=examples("use params.fast.yaml"))
def use(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            parser=named_path,
            metavar="FILE",
            help="A YAML file with some of the sections and keys of params.yaml.",
        ),
    ],
) -> None:
    """Merge the values of another file, such as params.fast.yaml, into params.yaml.

    The values stay there, so that params.yaml always describes the results;
    `git checkout params.yaml` restores the committed values.
    """
    from pipeline.core.files import write_text
    from pipeline.orchestration.overrides import merged

    workspace = find_workspace(context)
    write_text(workspace.params, merged(file, workspace.params))
