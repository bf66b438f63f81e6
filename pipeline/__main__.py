"""python -m pipeline COMMAND: the stages one by one, and what is done with their results.

`dvc repro` runs the stages in their order, each only if what it depends on has changed.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Annotated, Never

import typer

from pipeline import __version__
from pipeline.batch import Format
from pipeline.config import PARAMS, Params, load_params
from pipeline.core import environment, loopback, workspace
from pipeline.core.errors import RefusedError, UserError
from pipeline.core.paths import released_model
from pipeline.tracking import Part

app = typer.Typer(
    help=__doc__,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # which fills the lines of a paragraph anew, to the terminal
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
STAGES, OTHERS = "Stages (dvc repro runs them)", "Other commands"


def named_path(text: str) -> Path:
    """The path of this name. UserError if it is empty, as of a variable that is not set."""
    if not text:
        raise UserError("'': an empty name of a file")
    return Path(text)


def show_version(wanted: bool) -> None:
    """Print the version and end, if that is wanted."""
    if wanted:
        print(f"mnist-pipeline {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=show_version, is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    """Take the options that all commands share."""
    if debug:
        os.environ["PIPELINE_DEBUG"] = "1"


def stage(run: Callable[[Params], None]) -> Callable[[Params], None]:
    """Make a stage's command, which holds the workspace while it runs, unless a flow run does."""

    def command() -> None:
        params = load_params()
        with ExitStack() as stack:
            if environment.flow_run() is None:
                stack.enter_context(workspace.held(f"`python -m pipeline {run.__name__}`"))
            run(params)

    app.command(run.__name__, help=run.__doc__, rich_help_panel=STAGES)(command)
    return run


@stage
def backprop(params: Params) -> None:
    """Train a 2-2-2 network by hand-derived gradients and explain it.

    Needs no data and no torch. Writes every number of every iteration, figures and a spreadsheet
    that computes, BackPropagation.xlsx, to reports/backprop. All settings: params.yaml, backprop.
    """
    from pipeline.stages import backprop

    backprop.run(params.backprop)


@stage
def fetch(params: Params) -> None:
    """Get the four MNIST files into data/raw.

    The mirrors in params.yaml, fetch.mirrors, are tried in order: folders and http(s) addresses.
    A file is kept only if its SHA-256 is the known one.
    """
    from pipeline.stages import fetch

    fetch.run(params.fetch)


@stage
def prepare(params: Params) -> None:
    """Check the files of data/raw and decode them.

    Writes data/train.safetensors and data/test.safetensors (uint8 images N x 28 x 28 and labels
    N), a sheet of sample digits and the class counts in reports/prepare.
    """
    from pipeline.stages import prepare

    prepare.run(params.prepare)


@stage
def train(params: Params) -> None:
    """Train the network on data/train.safetensors alone.

    Killed at any moment, it goes on after the last finished epoch when it is started again, and
    ends in the same weights. Ctrl-C stops it within a batch. All settings: params.yaml, train.
    """
    from pipeline.stages import train

    train.run(params.train)


@stage
def export(params: Params) -> None:
    """Export the weights to ONNX and compare with torch.

    Writes artifacts/model.onnx, which takes raw uint8 images, and reports/export.json.
    """
    from pipeline.stages import export

    export.run(params.export)


@stage
def evaluate(params: Params) -> None:
    """Measure the exported file on the test set with ONNX Runtime.

    Writes metrics, speed, curves, confusion matrix and misclassified digits to
    reports/evaluation.
    """
    from pipeline.stages import evaluate

    evaluate.run(params.evaluate)


@stage
def gate(params: Params) -> None:
    """Judge the reports by the criteria in params.yaml, gate.

    Exit status 1 if any criterion fails; the table goes to reports/gate.md.
    """
    from pipeline.stages import gate

    gate.run(params.gate)


@stage
def release(params: Params) -> None:
    """Put what passed the gate into models/ and register it in MLflow.

    Exit status 1, and nothing changed, if the gate refused it or if the released model is
    significantly better.
    """
    from pipeline.stages import release

    release.run(params)


@app.command(rich_help_panel=OTHERS)
def summary() -> None:
    """Print the network's layer table."""
    from tabulate import tabulate

    from pipeline.mnist.network import build_network, count_parameters, layer_table

    network = build_network()
    headers = ("Layer (type)", "Output Shape", "Param #")
    rows = [(name, str(shape), f"{count:,}") for name, shape, count in layer_table(network)]
    print(tabulate(rows, headers, "github", disable_numparse=True, colalign=["right"] * 3))
    print(f"\nTotal params: {count_parameters(network):,}")


@app.command(rich_help_panel=OTHERS)
def flow(
    targets: Annotated[
        list[str] | None,
        typer.Argument(help="Stages to bring up to date; all, if none is named.", metavar="STAGE"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Run them even if nothing has changed.")
    ] = False,
    set_params: Annotated[
        list[str] | None,
        typer.Option(
            "--set-param",
            "-S",
            metavar="KEY=VALUE",
            help="A value for params.yaml, where it stays, as train.epochs=2; may be repeated.",
        ),
    ] = None,
) -> None:
    """Run the stages as a Prefect flow.

    Each stage is a task that DVC runs, or finds up to date, as `dvc repro` does.
    The runs are kept in .prefect; `make prefect` shows them. With PREFECT_API_URL
    set, that server has them.
    """
    from pipeline.orchestration import dag

    dag.read_plan(targets or [], set_params or [])  # before Prefect starts, which takes a while
    from pipeline.orchestration import flow

    flow.run(targets or [], force=force, set_params=set_params or [])


@app.command(rich_help_panel=OTHERS)
def use(
    file: Annotated[
        Path,
        typer.Argument(
            parser=named_path,
            metavar="FILE",
            help="A YAML file of sections and keys of params.yaml.",
        ),
    ],
) -> None:
    """Put the values of another file into params.yaml, such as params.fast.yaml.

    They stay there, so that it always says what made the results beside it;
    `git checkout params.yaml` takes them back.
    """
    from pipeline.config import PARAMS
    from pipeline.core.files import write_text
    from pipeline.orchestration.overrides import merged

    write_text(PARAMS, merged(file))


@app.command(rich_help_panel=OTHERS)
def track(
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

    if not PARAMS.exists():
        raise UserError(f"{PARAMS} is missing in {Path.cwd()}: run from the folder that holds it")
    if not background.wanted():
        raise UserError("MLFLOW_TRACKING_URI is none, which turns tracking off: name a server")
    from pipeline.tracking import publisher

    if follow:
        raise typer.Exit(0 if publisher.follow() else UserError.status)
    try:
        if wait:
            publisher.wait()
        done = publisher.publish(parts or tuple(Part), training=publisher.training_goes_on())
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


def main() -> Never:
    """Run the command line; every foreseen failure is one line and an exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    loopback.bypass_proxy()
    if sys.stdout is not None:  # what its encoding lacks is told as standard error tells it
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if sys.stderr is None:  # it was closed
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (until the process ends)
    try:
        app(prog_name="python -m pipeline", standalone_mode=True)
    except (UserError, RefusedError) as error:
        _fail(str(error), error.status, error)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        _fail(f"{error.strerror or error}{where}", UserError.status, error)
    sys.exit(0)


def _fail(message: str, status: int, error: BaseException) -> Never:
    if os.environ.get("PIPELINE_DEBUG"):
        raise error
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


def _stop(number: int, frame: FrameType | None) -> Never:
    print(f"stopped by {signal.Signals(number).name}", file=sys.stderr)
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
