"""What is done with an exported model: predict, score, serve."""

import sys
from typing import Annotated

import typer

from pipeline.batch import Format
from pipeline.cli.app import OTHERS, app
from pipeline.core.errors import UserError
from pipeline.inference.released import released_model


def _named(name: str) -> str:
    if not name:
        raise UserError("--model has an empty name: is a variable not set?")
    return name


ModelOption = Annotated[
    str,
    typer.Option(
        help="An ONNX file, or a model in MLflow: models:/mnist-cnn@champion.", callback=_named
    ),
]
NormaliseOption = Annotated[
    bool,
    typer.Option(
        "--normalise",
        "--normalize",
        help="Bring pictures into MNIST's form: invert dark on light, centre.",
    ),
]
RELEASED = str(released_model())


@app.command(rich_help_panel=OTHERS)
def predict(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Pictures (PNG, JPEG, BMP, TIFF), IDX and .npy files, also as .gz; folders of "
            "them; patterns such as 'scans/**/*.png'; - for standard input.",
            metavar="FILE...",
        ),
    ],
    model: ModelOption = RELEASED,
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
    """Read the digits in image files with the released model.

    A picture is expected as MNIST has them: 28 x 28 pixels, light ink on dark
    ground. Others need --normalise. An image that cannot be read is named on
    standard error, the others are answered, and the exit status is 2.
    """
    from pipeline.batch import predict

    if not predict.run(files, model, normalise=normalise, output=output, form=form):
        raise typer.Exit(UserError.status)


@app.command(rich_help_panel=OTHERS)
def score(
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
    model: ModelOption = RELEASED,
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
    """Read the digits of an input of any size, into a Parquet file.

    Its columns are id, digit, confidence, probabilities, error, model_sha256.
    Little is in memory at a time. Killed and started again, it goes on where it
    was. An image that cannot be read has an error instead of a digit; then the
    exit status is 2.
    """
    from pipeline.batch import score

    if not score.run(files, output, model, normalise=normalise, cluster=ray):
        raise typer.Exit(UserError.status)


@app.command(rich_help_panel=OTHERS)
def serve(
    model: ModelOption = RELEASED,
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
    Protocol find the model mnist-cnn; /predict takes a picture file; Prometheus
    reads /metrics. With PIPELINE_SERVE_TOKEN set, or PIPELINE_SERVE_TOKEN_FILE, all but
    page, documentation and health require it: Authorization: Bearer TOKEN.
    """
    from pipeline.service import server

    server.run(model, host, port, json_log=json_log or not sys.stderr.isatty())
