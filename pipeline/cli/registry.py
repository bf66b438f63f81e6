"""Commands that act on releases: releases, promote, rollback."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.app import OTHERS, app, examples, find_workspace, program_name
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.registry.releases import Release, Releases

NumberArgument = Annotated[int, typer.Argument(help="The number of the release.", metavar="N")]
ReasonOption = Annotated[str, typer.Option(help="Why, for the ledger.", metavar="TEXT")]


@app.command(rich_help_panel=OTHERS, epilog=examples("releases", "releases --sync"))
def releases(
    context: typer.Context,
    sync: Annotated[
        bool, typer.Option("--sync", help="Let MLflow's alias champion follow this champion.")
    ] = False,
) -> None:
    """List the releases in models/, with the champion.

    The mark is champion, previous (the champion before), best (the highest test accuracy) or held
    (registered after a rollback or by a retraining, and never promoted). --sync registers releases
    that MLflow does not have and moves the alias champion there, unless MLflow has seen acts on
    releases that this checkout does not know.
    """
    from tabulate import tabulate

    from pipeline.registry.releases import Releases
    from pipeline.tracking import background

    workspace = find_workspace(context)
    found = Releases.of(workspace)
    header = ["release", "mark", "test accuracy", "date", "SHA-256", "verdict"]
    print(tabulate(list(_rows(found)), header, disable_numparse=True))
    if sync:
        if not background.enabled():
            raise UserError("MLFLOW_TRACKING_URI=none turns tracking off: name a server")
        moved = synchronise(workspace)
        print(f"MLflow's alias champion {'moved' if moved else 'stays'}")


@app.command(rich_help_panel=OTHERS, epilog=examples('promote 3 --reason "better on photographs"'))
def promote(context: typer.Context, number: NumberArgument, reason: ReasonOption) -> None:
    """Make a registered release the champion: the model in models/ and MLflow's alias.

    Use it for a release that the rule could not decide on, and after a rollback.
    """
    from pipeline.registry import acts

    workspace = find_workspace(context)
    with workspace.lock(f"`{program_name()} promote`"):
        release = acts.promote(workspace, number, reason)
    _done(workspace, release)


@app.command(rich_help_panel=OTHERS, epilog=examples("rollback", 'rollback 2 --reason "slow"'))
def rollback(
    context: typer.Context,
    number: Annotated[
        int | None,
        typer.Argument(
            help="The number of the release; by default the one that the champion replaced.",
            metavar="[N]",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Why, for the ledger.", metavar="TEXT", show_default=False)
    ] = None,
) -> None:
    """Make an earlier release the champion again.

    From then on, new releases are registered but not promoted, until `promote` is called.
    """
    from pipeline.registry import acts

    workspace = find_workspace(context)
    with workspace.lock(f"`{program_name()} rollback`"):
        release = acts.rollback(workspace, number, reason)
    _done(workspace, release)


def synchronise(workspace: Workspace) -> bool:
    """Publish everything to MLflow and let its alias follow the champion; whether the alias moved.

    UserError if the server does not work or a file cannot be read.
    """
    from pipeline.cli.tracking import publish
    from pipeline.registry import alias
    from pipeline.tracking import publisher, store

    try:
        publish(workspace)
        with store.connect(workspace) as client:
            return alias.follow(workspace, client)
    except UserError:
        raise
    except Exception as error:
        raise UserError(publisher.describe(error, workspace)) from error


def _done(workspace: Workspace, release: "Release") -> None:
    """Print the champion; MLflow follows later, in the background."""
    from pipeline.tracking import background

    print(f"release {release.number} is the champion, SHA-256 {release.sha256}")
    background.synchronise_later(workspace)


def _rows(found: "Releases") -> Iterator[list[str]]:
    """A row for each release, the newest first."""
    from pipeline.core.reports import Metrics

    marks = {
        "champion": found.champion(),
        "previous": found.previous(),
        "best": found.best(),
    }
    for number, release in reversed([*found.all.items()]):
        line = found.registration(release)
        own = [mark for mark, each in marks.items() if each and each.number == number]
        if line is not None and line.held and release.sha256 not in found.promoted:
            own.append("held")
        yield [
            str(number),
            ", ".join(own),
            f"{Metrics.read(release.metrics).accuracy:.2%}",
            line.time if line else "unknown",
            release.version,
            (line.verdict if line else None) or "unknown",
        ]
