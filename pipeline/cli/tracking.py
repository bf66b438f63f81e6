"""What MLflow shows."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.app import OTHERS, app, find_workspace
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from pipeline.tracking import Component

if TYPE_CHECKING:  # slow to import
    from pipeline.tracking.runs import Published


@app.command(rich_help_panel=OTHERS)
def track(
    context: typer.Context,
    components: Annotated[
        list[Component] | None,
        typer.Argument(
            help="What to publish: backprop, training, release; all, if nothing is named.",
            metavar="COMPONENT",
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
    if not background.enabled():
        raise UserError("MLFLOW_TRACKING_URI is none, which turns tracking off: name a server")
    workspace.check_places()
    from pipeline.tracking import publisher

    if follow:
        raise typer.Exit(0 if publisher.follow(workspace) else UserError.status)
    try:
        if wait:
            publisher.wait(workspace)
        done = publish(workspace, components or tuple(Component))
    except UserError:
        raise
    except Exception as error:
        raise UserError(publisher.describe(error, workspace)) from error
    for component, page, changed in done:
        print(f"{component}: {'published' if changed else 'up to date'}, {links.shown(page)}")
    for component in components or ():
        if component not in {published.component for published in done}:
            print(f"{component}: nothing to publish here")
    if not done and not components:
        print("nothing to publish: neither reports/ nor models/ holds anything")


def publish(
    workspace: Workspace, components: Collection[Component] = tuple(Component)
) -> list["Published"]:
    """Bring these components up to date in the workspace's store, runs first, then the release.

    One whose files cannot be read keeps no other from it: the UserError is raised after them all.
    """
    from pipeline.registry import registration
    from pipeline.tracking import publisher, store

    done: list[Published] = []
    problems: list[UserError] = []
    with store.connect(workspace) as client:
        training = publisher.is_training(workspace)
        for component in (Component.TRAINING, Component.BACKPROP, Component.RELEASE):
            if component not in components:
                continue
            try:
                if component is Component.RELEASE:
                    shown = registration.publish_release(workspace, client)
                else:
                    shown = publisher.publish(workspace, client, component, training=training)
                done += [shown] if shown else []
            except UserError as error:
                problems.append(error)
    if problems:
        raise UserError("; ".join(map(str, problems))) from problems[0]
    return done
