"""The command that serves a model over HTTP: serve."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.app import OTHERS, app, examples, find_workspace, named_path, named_workspace
from pipeline.cli.models import MODEL, TrustOption, named_model
from pipeline.core.errors import UserError


def _served_model(context: typer.Context, name: str | None) -> str | None:
    """The model that --model names; None: the champion of the workspace, which is followed."""
    workspace = named_workspace(context)
    if name is None and (workspace is None or workspace.checksums.exists()):
        return None
    return named_model(context, name)


@app.command(
    rich_help_panel=OTHERS,
    epilog=examples("serve", "serve --port 0 --model artifacts/model.onnx"),
)
def serve(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help=f"{MODEL}of the workspace or of this package. The service follows the workspace "
            "or the alias, but not a file.",
            show_default=False,
            callback=_served_model,
        ),
    ] = None,
    trust: TrustOption = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="HOST",
            help="The address to listen on; 0.0.0.0 stands for all addresses of this machine.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, metavar="PORT", help="The port to listen on; 0 picks a free one."
        ),
    ] = 8000,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="NUMBER",
            help="The number of processes; by default one per core.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="How often to look for a new champion; 0: only when told. By default 1, or 30 for "
            "an alias in MLflow.",
            show_default=False,
        ),
    ] = None,
    challenger: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="A second model to compare with the first on copies of the requests: a release "
            "number, an ONNX file, a model in MLflow, or `trial` for the one that a retraining "
            "puts on trial.",
            show_default=False,
        ),
    ] = None,
    canary: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            metavar="PERCENT",
            help="The share of requests that the challenger answers, until it fails, is slow, or "
            "disagrees too often; by default none.",
            show_default=False,
        ),
    ] = None,
    tolerate: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=30,
            metavar="PERCENT",
            help="The share of requests that the challenger may answer differently; by default 3.",
            show_default=False,
        ),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(
            parser=named_path,
            metavar="FOLDER",
            help="Keep the images and answers in this folder, for labels and monitoring.",
            show_default=False,
        ),
    ] = None,
    journal_share: Annotated[
        float,
        typer.Option(
            min=0.01, max=100, metavar="PERCENT", help="The share of the images that is kept."
        ),
    ] = 100,
    journal_days: Annotated[
        float,
        typer.Option(min=0.01, metavar="DAYS", help="How long images without a label are kept."),
    ] = 30,
    journal_megabytes: Annotated[
        float,
        typer.Option(
            min=1,
            metavar="MEGABYTES",
            help="How much is kept; beyond it, the oldest images without a label are deleted.",
        ),
    ] = 1000,
    journal_labelled_megabytes: Annotated[
        float,
        typer.Option(
            min=1,
            metavar="MEGABYTES",
            help="How much is kept of older images with a label; beyond it, the oldest are "
            "deleted.",
        ),
    ] = 1000,
    json_log: Annotated[
        bool, typer.Option("--json-log", help="Log JSON lines even on a terminal.")
    ] = False,
) -> None:
    """Serve a model over HTTP, with a page to draw on.

    The page is at /, the documentation of the interface at /docs. /predict takes a picture file,
    Open Inference Protocol clients find the model by its name, and Prometheus scrapes /metrics.
    If PIPELINE_SERVE_TOKEN or PIPELINE_SERVE_TOKEN_FILE is set, every route except the page, the
    documentation and the health checks requires the header Authorization: Bearer TOKEN. Requests
    that change the service require the token in PIPELINE_ADMIN_TOKEN or PIPELINE_ADMIN_TOKEN_FILE.
    With --journal, people with the token in PIPELINE_REVIEW_TOKEN or PIPELINE_REVIEW_TOKEN_FILE
    label images at /review.
    """
    from pipeline.journal.keeping import JournalSettings, Keeping
    from pipeline.service import server
    from pipeline.service.challenger.challenge import Challenge
    from pipeline.service.challenger.trial import TOLERATED, Rules

    workspace = named_workspace(context)
    with suppress(UserError):  # outside a workspace, the page has no reports to show
        workspace = workspace or find_workspace(context)
    challenge = None
    if challenger is not None:
        rules = Rules(canary or 0, TOLERATED if tolerate is None else tolerate / 100)
        challenge = Challenge(challenger, rules)
    elif canary is not None or tolerate is not None:
        raise UserError("--canary and --tolerate require --challenger, which names the model")
    settings = None
    if journal is not None:
        keeping = Keeping(
            journal_share / 100, journal_days, journal_megabytes, journal_labelled_megabytes
        )
        settings = JournalSettings(journal, keeping)
    server.run(
        model,
        host,
        port,
        workers=workers,
        json_log=json_log or not sys.stderr.isatty(),
        workspace=workspace,
        trust=trust or (),
        follow=follow,
        challenge=challenge,
        journal=settings,
    )
