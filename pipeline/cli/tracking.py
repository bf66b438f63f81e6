"""What is shown in MLflow."""

from typing import Annotated

import typer

from pipeline.cli.app import OTHERS, app, find_workspace
from pipeline.core.errors import UserError
from pipeline.tracking import Part, configure


@app.command(rich_help_panel=OTHERS)
def track(
    context: typer.Context,
    parts: Annotated[
        list[Part] | None,
        typer.Argument(
            help="What to publish: backprop, training, release; all, if nothing is named.",
            metavar="PART",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[bool, typer.Option(hidden=True)] = False,  # until standard input ends
    wait: Annotated[bool, typer.Option(hidden=True)] = False,  # until it ends, and begin then
) -> None:
    """Bring MLflow up to date from reports/ and models/.

    Publishes what the server lacks, and says what that was. It moves the alias champion only if a
    release from this folder could not do so. Run it at any time. The server is
    MLFLOW_TRACKING_URI, by default sqlite:///mlflow.db; `make mlflow` shows it.
    """
    from pipeline.tracking import background, links

    workspace = find_workspace(context)
    if not background.wanted():
        raise UserError("MLFLOW_TRACKING_URI is none, which turns tracking off: name a server")
    configure(workspace.root)
    from pipeline.tracking import publisher

    if follow:
        raise typer.Exit(0 if publisher.follow(workspace) else UserError.status)
    try:
        if wait:
            publisher.wait(workspace)
        done = publisher.publish(
            workspace, parts or tuple(Part), training=publisher.training_goes_on(workspace)
        )
    except UserError:
        raise
    except Exception as error:
        raise UserError(publisher.describe(error)) from error
    for part, page, changed in done:
        print(f"{part}: {'published' if changed else 'up to date'}, {links.shown(page)}")
    for part in parts or ():
        if part not in {published.part for published in done}:
            print(f"{part}: nothing to publish here")
    if not done and not parts:
        print("nothing to publish: neither reports/ nor models/ holds anything")
