"""The command that brings MLflow up to date."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.app import OTHERS, app, collect_garbage_rarely, examples, find_workspace
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from pipeline.tracking import Component

if TYPE_CHECKING:  # slow to import
    from pipeline.tracking.runs import Published


@app.command(rich_help_panel=OTHERS, epilog=examples("track", "track training release"))
def track(
    context: typer.Context,
    components: Annotated[
        list[Component] | None,
        typer.Argument(
            help="What to publish: backprop, training or release; by default all.",
            metavar="COMPONENT",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[bool, typer.Option(hidden=True)] = False,  # until standard input ends
    wait: Annotated[bool, typer.Option(hidden=True)] = False,  # publish when standard input ends
) -> None:
    """Bring MLflow up to date with reports/ and models/.

    Publishes whatever the tracking server lacks and prints what it published; a second run
    changes nothing. Registers releases as versions of the model; `releases --sync` moves the alias.
    MLFLOW_TRACKING_URI names the server, by default sqlite:///mlflow.db; `make mlflow` shows it.
    """
    from pipeline.tracking import background, links

    collect_garbage_rarely()
    workspace = find_workspace(context)
    if not background.enabled():
        raise UserError("MLFLOW_TRACKING_URI=none turns tracking off: name a server")
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
        print("nothing to publish: reports/ and models/ are empty")


def publish(
    workspace: Workspace, components: Collection[Component] = tuple(Component)
) -> list["Published"]:
    """Bring these components up to date in the workspace's store, runs first, then releases.

    If the files of one cannot be read, the others are published before the UserError is raised.
    """
    from pipeline.registry import registration
    from pipeline.tracking import publisher, store

    done: list[Published] = []
    errors: list[UserError] = []
    with store.connect(workspace) as client:
        training = publisher.is_training(workspace)
        for component in (Component.TRAINING, Component.BACKPROP, Component.RELEASE):
            if component not in components:
                continue
            try:
                if component is Component.RELEASE:
                    published = registration.publish_releases(workspace, client)
                else:
                    published = publisher.publish(workspace, client, component, training=training)
                done += [published] if published else []
            except UserError as error:
                errors.append(error)
    if errors:
        raise UserError("; ".join(map(str, errors))) from errors[0]
    return done
