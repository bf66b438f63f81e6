"""The command that watches a model in use."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.app import OTHERS, app, examples, find_workspace, named_path

if TYPE_CHECKING:  # slow to import
    from pipeline.monitoring.state import State

FOUND = 3  # exit status


@app.command(
    rich_help_panel=OTHERS,
    epilog=examples("monitor journal/", "monitor journal/ --every 60 --metrics monitor.prom"),
)
def monitor(
    context: typer.Context,
    journal: Annotated[
        Path,
        typer.Argument(
            parser=named_path, help="The folder of `serve --journal`.", metavar="JOURNAL"
        ),
    ],
    window: Annotated[
        int, typer.Option(min=50, help="Images of a window.", metavar="IMAGES")
    ] = 500,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="MINUTES",
            help="Judge a window that has not filled after this time, if it has 50 images or more.",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            parser=named_path,
            metavar="FOLDER",
            help="Where to write report.html and monitor.json; by default reports/monitoring.",
            show_default=False,
        ),
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(
            parser=named_path,
            metavar="FILE",
            help="A file for Prometheus metrics, in the folder of node_exporter's textfile "
            "collector.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        int, typer.Option(min=1, help="New labels that are enough for an event.")
    ] = 300,
    every: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="Read the journal again after this time, until stopped.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Compare the images in a journal with images held out of training.

    Reads what is new, in windows of a fixed size, and tests logits, predicted classes, image
    statistics and novelty; estimates the accuracy, and measures it if there are labels. Exits with
    status 3 if the last window differs or the accuracy has fallen.
    """
    from pipeline.monitoring.monitor import monitor

    workspace = find_workspace(context)
    while True:
        state = monitor(
            workspace,
            journal,
            report,
            window=window,
            minutes=minutes,
            enough_labels=labels,
            metrics_file=metrics,
        )
        print(_summary(state), flush=True)
        if every is None:
            raise typer.Exit(FOUND if state.drift or state.fell else 0)
        time.sleep(every)


def _summary(state: "State") -> str:
    """One line on what was found."""
    if (last := state.last) is None:
        return f"no window yet: {state.waiting} of {state.window} images"
    name = min(last.p_values, key=last.p_values.__getitem__)
    parts = [
        f"window {state.judged}: {'differs' if state.drift else 'as the reference'}, smallest "
        f"p-value {last.p_values[name]:.2g} ({name}; alarm below {last.threshold:.2g})"
    ]
    for kind, found in (("estimated", last.estimated), ("measured", state.measured)):
        if found is not None:
            fell = ", which is a fall" if found.fell else ""
            interval = f"{found.low:.2%} to {found.high:.2%}"
            parts.append(f"{kind} accuracy {found.value:.2%} ({interval}){fell}")
    return "; ".join(parts)
