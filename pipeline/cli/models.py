"""Commands that classify files with a model: predict, score."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.batch.formats import Format
from pipeline.cli.app import OTHERS, app, examples, named_path, named_workspace
from pipeline.core.errors import UserError


def named_model(context: typer.Context, name: str | None) -> str | None:
    """The model that --model names, else that of --workspace, else None: the released one."""
    if name == "":
        raise UserError("--model is empty: is a variable not set?")
    if name is None and (workspace := named_workspace(context)):
        return str(workspace.released_model)
    return name


MODEL = "An ONNX file, or a model in MLflow as models:/NAME@ALIAS; by default the released model "
ModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help=f"{MODEL}of the workspace or of this package.",
        show_default=False,
        callback=named_model,
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
