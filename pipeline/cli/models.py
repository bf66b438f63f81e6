"""Commands that use a model: predict, score, serve."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from pipeline.batch.formats import Format
from pipeline.cli.app import OTHERS, app, examples, find_workspace, named_path, named_workspace
from pipeline.core.errors import UserError


def _model(context: typer.Context, name: str | None) -> str | None:
    """The model that --model names, else that of --workspace, else None: the released one."""
    if name == "":
        raise UserError("--model is empty: is a variable not set?")
    if name is None and (workspace := named_workspace(context)):
        return str(workspace.released_model)
    return name


def _served_model(context: typer.Context, name: str | None) -> str | None:
    """The model that --model names; None: the champion of the workspace, which is followed."""
    workspace = named_workspace(context)
    if name is None and (workspace is None or workspace.checksums.exists()):
        return None
    return _model(context, name)


MODEL = "An ONNX file, or a model in MLflow as models:/NAME@ALIAS; by default the released model "
ModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help=f"{MODEL}of the workspace or of this package.",
        show_default=False,
        callback=_model,
    ),
]
NormaliseOption = Annotated[
    bool,
    typer.Option(
        "--normalise",
        "--normalize",
        help="Convert pictures to the model's form first: invert dark on light, scale and centre.",
    ),
]
TrustOption = Annotated[
    list[Path] | None,
    typer.Option(
        parser=named_path,
        metavar="KEY",
        help="A public key: refuse a model whose release it has not signed. Repeat the option to "
        "trust several keys.",
        show_default=False,
    ),
]


@app.command(
    rich_help_panel=OTHERS,
    epilog=examples("predict --normalise photo.jpg", "predict scans/ --output labels.csv"),
)
def predict(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            help="Pictures (PNG, JPEG, BMP, TIFF, WebP, GIF), IDX and .npy files, each also "
            "gzipped; folders of them; patterns such as 'scans/**/*.png'; - for standard input.",
            metavar="FILE...",
        ),
    ],
    model: ModelOption = None,
    trust: TrustOption = None,
    normalise: NormaliseOption = False,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="The file to write; - is standard output.", metavar="FILE"
        ),
    ] = "-",
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="The output format: a table, JSON Lines or CSV; by default the one that the "
            "suffix of --output names, .csv or .jsonl, else a table.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Classify the images in files.

    A picture must have the form of the model's images: their size, light ink on a dark
    background. Any other picture requires --normalise. The column verdict says what an image
    shows, set which labels it may have. If an image cannot be read, the command names it on
    standard error, classifies the others and exits with status 2.
    """
    from pipeline.batch import predict

    workspace = named_workspace(context)
    if not predict.run(
        files,
        model,
        normalise=normalise,
        output=output,
        form=form,
        workspace=workspace,
        trust=trust or (),
    ):
        raise typer.Exit(UserError.status)


@app.command(
    rich_help_panel=OTHERS,
    epilog=examples("score scans/ --output labels.parquet --normalise"),
)
def score(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, IDX and .npy files, each also gzipped; Parquet files with a column "
            "image; folders of them; patterns such as 'scans/**/*.png'.",
            metavar="FILE...",
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="The Parquet file to write.", metavar="FILE")
    ],
    model: ModelOption = None,
    trust: TrustOption = None,
    normalise: NormaliseOption = False,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Score on the Ray cluster at this address, HOST:PORT or auto. This machine must "
            "belong to it, and all its machines must see input and output under the same paths.",
            metavar="ADDRESS",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Classify the images of an input of any size, and write a Parquet file.

    The columns are id, label (and digit, for digits), confidence, set, novelty, verdict,
    probabilities, error and model_sha256. Memory use does not grow with the input, and an
    interrupted run resumes. An image that cannot be read has an error instead of a verdict, and the
    exit status is then 2.
    """
    from pipeline.batch import score

    workspace = named_workspace(context)
    if not score.run(
        files,
        output,
        model,
        normalise=normalise,
        cluster=ray,
        workspace=workspace,
        trust=trust or (),
    ):
        raise typer.Exit(UserError.status)


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
            "number, an ONNX file, or a model in MLflow.",
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
    """
    from pipeline.service import server
    from pipeline.service.challenger.trial import TOLERATED, Rules

    workspace = named_workspace(context)
    with suppress(UserError):  # outside a workspace, the page has no reports to show
        workspace = workspace or find_workspace(context)
    challenge = None
    if challenger is not None:
        rules = Rules(canary or 0, TOLERATED if tolerate is None else tolerate / 100)
        challenge = server.Challenge(challenger, rules)
    elif canary is not None or tolerate is not None:
        raise UserError("--canary and --tolerate require --challenger, which names the model")
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
    )
