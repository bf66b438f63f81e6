"""What is done with an exported model: predict, score, serve."""

import sys
from contextlib import suppress
from typing import Annotated

import typer

from pipeline.batch.formats import Format
from pipeline.cli.app import OTHERS, app, find_workspace, named_workspace
from pipeline.core.errors import UserError


def _model(context: typer.Context, name: str | None) -> str | None:
    """The model that is named, or that of a workspace that is named; else None, the released."""
    if name == "":
        raise UserError("--model has an empty name: is a variable not set?")
    if name is None and (workspace := named_workspace(context)):
        return str(workspace.released_model)
    return name


ModelOption = Annotated[
    str | None,
    typer.Option(
        help="An ONNX file, or a model in MLflow: models:/NAME@ALIAS; by default the released "
        "model, of the workspace or of this package.",
        show_default=False,
        callback=_model,
    ),
]
NormaliseOption = Annotated[
    bool,
    typer.Option(
        "--normalise",
        "--normalize",
        help="Bring pictures into the form of the model's images: invert dark on light, scale, "
        "centre.",
    ),
]


@app.command(rich_help_panel=OTHERS)
def predict(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            help="Pictures (PNG, JPEG, BMP, TIFF), IDX and .npy files, also as .gz; folders of "
            "them; patterns such as 'scans/**/*.png'; - for standard input.",
            metavar="FILE...",
        ),
    ],
    model: ModelOption = None,
    normalise: NormaliseOption = False,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="The file to write, instead of standard output.", metavar="FILE"
        ),
    ] = "-",
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="A table, a JSON object a line, or CSV; without it, what the suffix of the output "
            "says, .csv or .jsonl, else a table.",
        ),
    ] = None,
) -> None:
    """Classify the images in files.

    A picture is expected in the form of the model's images: of their size, light
    ink on dark ground. Others require --normalise. An image that cannot be read
    is named on standard error, the others are answered, and the exit status is 2.
    """
    from pipeline.batch import predict

    workspace = named_workspace(context)
    if not predict.run(
        files, model, normalise=normalise, output=output, form=form, workspace=workspace
    ):
        raise typer.Exit(UserError.status)


@app.command(rich_help_panel=OTHERS)
def score(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, IDX and .npy files, also as .gz; Parquet files with a column image; "
            "folders of them; patterns such as 'scans/**/*.png'.",
            metavar="FILE...",
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="The Parquet file to write.", metavar="FILE")
    ],
    model: ModelOption = None,
    normalise: NormaliseOption = False,
    ray: Annotated[
        str | None,
        typer.Option(
            help="The Ray cluster that does the work, as HOST:PORT or auto; this machine is one of "
            "its own. All must see input and output under the same paths.",
            metavar="ADDRESS",
        ),
    ] = None,
) -> None:
    """Classify the images of an input of any size, into a Parquet file.

    Its columns are id, label (of digits, digit too), confidence, probabilities,
    error, model_sha256. Little is in memory at a time, and an interrupted run
    resumes. An image that cannot be read has an error instead of a label; then
    the exit status is 2.
    """
    from pipeline.batch import score

    workspace = named_workspace(context)
    if not score.run(files, output, model, normalise=normalise, cluster=ray, workspace=workspace):
        raise typer.Exit(UserError.status)


@app.command(rich_help_panel=OTHERS)
def serve(
    context: typer.Context,
    model: ModelOption = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 is every one of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    json_log: Annotated[
        bool, typer.Option("--json-log", help="Log lines of JSON on a terminal, too.")
    ] = False,
) -> None:
    """Serve the released model by HTTP, with a page to draw on.

    The page is at /, documentation at /docs. Clients of the Open Inference
    Protocol find the model under its name; /predict takes a picture file; Prometheus
    reads /metrics. With PIPELINE_SERVE_TOKEN set, or PIPELINE_SERVE_TOKEN_FILE, all but
    page, documentation and health require it: Authorization: Bearer TOKEN.
    """
    from pipeline.service import server

    workspace = named_workspace(context)
    with suppress(UserError):  # outside a workspace the page has no reports to show
        workspace = workspace or find_workspace(context)
    json_log = json_log or not sys.stderr.isatty()
    server.run(model, host, port, json_log=json_log, workspace=workspace)
